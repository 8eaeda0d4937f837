"""One player's game: the dream, its timeline, the real game beside it, and who is at the controls.

Nothing here waits, and nothing knows a browser. One thread at a time may use a session, except for
`hold`, which may be called at any moment: a key must not wait for the step that is being made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

import numpy as np

from dfgym.actions import Row
from dfgym.agents.players import make_factory
from dfgym.device import pick_device
from dfgym.diffusion.context import NOISELESS_MODES
from dfgym.env.env import DreamEnv
from dfgym.errors import ConfigError, DfgymError, StateError
from dfgym.frames import upscale
from dfgym.games.source import PolicyFactory, Source, SourcePolicy
from dfgym.play import messages
from dfgym.play.dream import Dream
from dfgym.play.timeline import Film, Timeline
from dfgym.play.twin import CHANCE_NOTE, Twin
from dfgym.world import shelf
from dfgym.world.bundle import Starts
from dfgym.world.card import Card
from dfgym.world.sampling import resolve_sampling
from dfgym.world.settings import Settings

HUMAN = "human"
NUM_STARTS = 12


class Session:
    """A game being played.

    Args:
        world: a world's name on the shelf, or the path of its folder.
        settings: how the world is run at first; gaps are filled with the card's values.
        agents: the agents to offer besides those that every world has, by the names of
            `dfgym.agents.players`.
        agent: the one of `agents` that is at the controls first; None for the human.
        real: whether to begin with the real game beside the dream, where it is installed.
        seed: the seed of the starts, the noise and the agents; None for another each time.

    Attributes:
        world: the world.
        agents: the factories of the agents' policies, by the names that the player sees.
        agent: the name of the agent at the controls; None for the human.
        starts: held-out episodes and frames in them to begin from.
        idle_action: the action that is played while no key is held.
        real_note: why there is no real game, or what to know about it.
        paused: whether no step is due.
        speed: steps a second; 0 for as many as there can be.
        settings: how the world is run at the next step, without gaps.
        timeline: the running episode.
        episode: the number of episodes that have begun.

    Raises:
        WorldError, ConfigError, DeviceError: an argument is not allowed.
    """

    def __init__(
        self,
        world: str,
        settings: Settings,
        *,
        agents: Sequence[str] = (),
        agent: str | None = None,
        real: bool = True,
        seed: int | None = None,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self.world = shelf.load(world)
        card = self.world.card
        self._scale = card.frames.observation_scale
        self.settings = resolve_settings(card, settings)
        self._dream = Dream(self.world, world, self.settings)
        self.agents = find_agents(card, self._dream.env, agents)
        self.agent = None if agent is None else label(agent)
        self._player: SourcePolicy | None = None
        self.starts = pick_starts(self.world.starts)
        self.idle_action: Row = card.actions.idle
        # Each is an action, and the number by which the page counts its presses.
        self._held = self._played = (self.idle_action, 0)
        self._tap: tuple[Row, int] | None = None  # pressed and released before a step could play it
        self.paused, self.speed, self.episode = False, float(card.frames.fps), 0
        self.real_note = CHANCE_NOTE
        self._notice: str | None = None
        self._twin: Twin | None = None
        self._real_wanted = real
        try:
            self._twin = Twin(self.world)
        except DfgymError as reason:
            self.real_note = str(reason)
        self.begin()
        if (notice := self.take_notice()) is not None:
            self.real_note, self._twin = notice, None

    # --- What there is ----------------------------------------------------------------------------

    @property
    def real_available(self) -> bool:
        """Whether the real game can be shown."""
        return self._twin is not None

    @property
    def real_on(self) -> bool:
        """Whether the real game is wanted, and available."""
        return self._real_wanted and self.real_available

    @property
    def beside(self) -> bool:
        """Whether the current frame has the real game's beside it."""
        return self.real_on and self.timeline.current.real is not None

    @property
    def input(self) -> int:
        """The page's number for the action that was played last."""
        return self._played[1]

    @property
    def urgent(self) -> bool:
        """Whether the human holds another action than the one that was played last."""
        action = (self._tap or self._held)[0]
        return self.agent is None and not np.array_equal(action, self._played[0])

    def film(self) -> Film:
        """Return the running episode up to the current frame; later steps do not change it."""
        timeline = self.timeline
        moments = timeline.moments[: timeline.cursor - timeline.first + 1]
        return Film(self.world.card, moments, self.beside, self._seed)

    def take_notice(self) -> str | None:
        """Return the notice for the player that has come up since the last call, if any."""
        notice, self._notice = self._notice, None
        return notice

    # --- What the player asks for -----------------------------------------------------------------

    def hold(self, action: int | tuple[float, ...], number: int) -> None:
        """Hold an action from now on; one that was too short for any step is played once first.

        Args:
            action: the action, as a row.
            number: the page's number for it.

        Raises:
            ActionError: there is no such action.
        """
        row = self.world.card.actions.parse_row(action)
        if self.urgent and not self.paused:
            self._tap = self._tap or self._held
        self._held = row, number

    def apply(self, message: messages.Message) -> None:
        """Do what a message asks for.

        Raises:
            ConfigError, DeviceError, ActionError: that is not possible; nothing has changed.
            StateError: see `advance`.
        """
        match message:
            case messages.Act(action, number):
                self.hold(action, number)
            case messages.Pause(on):
                self.paused = on
            case messages.Step():
                self.paused = True
                self.advance()
            case messages.Reset(start):
                self.begin(start)
            case messages.Seek(t):
                self.timeline.seek(t)
                self.paused = True
            case messages.SelectAgent(name):
                if name is not None and name not in self.agents:
                    names = ", ".join(self.agents)
                    raise ConfigError(f"there is no agent {name[:80]!r}; there are {names}")
                self.agent, self._player, self._tap = name, None, None
            case messages.ChangeSettings(settings):
                self.settings = resolve_settings(self.world.card, settings)
            case messages.SetSpeed(fps):
                self.speed = fps
            case messages.ShowReal(on):
                if on and self._twin is None:
                    raise ConfigError(self.real_note)
                self._real_wanted = on
                self._replay_real()
            case messages.Ack():
                pass  # the connection deals with it
            case _:
                assert_never(message)

    # --- The game ---------------------------------------------------------------------------------

    def begin(self, start: int | None = None) -> None:
        """Begin an episode at one of the starts, or where a random held-out episode began.

        Raises:
            ConfigError: there is no such start.
        """
        if start is not None and not 0 <= start < len(self.starts):
            raise ConfigError(f"start is {start}; allowed is 0 to {len(self.starts) - 1}")
        random_episode = int(self._rng.integers(len(self.world.starts)))
        self._start = (random_episode, 0) if start is None else self.starts[start]
        episode, frame = self._start
        frames, actions = self.world.starts.episode(episode)
        first = max(0, frame + 1 - self.world.card.model.history)
        self.timeline = Timeline(frames[first : frame + 1], actions[first:frame])
        self._seed = int(self._rng.integers(2**32))
        self._dream.begin(self._seed)
        self._player = self._tap = None
        self.episode += 1
        self._replay_real()

    def advance(self) -> None:
        """Play a step from the current frame on, or begin the next episode if this one is over.

        Raises:
            StateError: the dream could not be taken back exactly.
        """
        if self.timeline.ended:
            self.begin()
            return
        timeline = self.timeline
        if timeline.cursor < timeline.length:
            timeline.branch()
            self._player = None  # it remembers the future that was dropped
            if self._twin is not None and self.beside:
                self._twin.rewind(timeline.actions)
        self._dream.seek(timeline, self.settings)
        before = timeline.current
        moment = self._dream.step(timeline, self._choose(before.frame), self.agent or HUMAN)
        if self._twin is not None and self.beside and before.real is not None:
            assert moment.action is not None
            real = self._twin.step(before.real, moment.action, timeline.cursor + 1, moment.frame)
            moment = dataclasses.replace(moment, real=real)
        timeline.append(moment)
        self._dream.add_keyframe(timeline)

    def close(self) -> None:
        """Close both games."""
        self._dream.close()
        if self._twin is not None:
            self._twin.close()

    def _choose(self, frame: np.ndarray) -> Row:
        """Return the agent's action, or the human's: a tap between two steps precedes the held."""
        if self.agent is None:
            tap, self._tap = self._tap, None
            self._played = tap or self._held
            return self._played[0]
        if self._player is None:
            seed = np.random.SeedSequence(int(self._rng.integers(2**32)))
            self._player = self.agents[self.agent](seed)
        return self._player(upscale(frame, self._scale), frame)

    def _replay_real(self) -> None:
        """Let the real game play what the dream has played, if it is to be shown."""
        if self._twin is None or not self._real_wanted:
            return
        try:
            self._twin.begin(*self._start)
        except StateError as reason:
            self._notice = str(reason)
            return
        self._twin.replay(self.timeline)


def resolve_settings(card: Card, settings: Settings) -> Settings:
    """Fill the gaps in the settings with the card's own values, and name the device.

    Raises:
        ConfigError: the settings are not allowed for this world.
        DeviceError: the device is missing.
    """
    resolve_sampling(card, settings)
    sampler, steps, noise = card.sampler, settings.denoising_steps, settings.context_noise
    mode = settings.context_mode or sampler.context_mode
    noise = sampler.context_noise if noise is None else noise
    return dataclasses.replace(
        settings,
        device=str(pick_device(settings.device)),
        denoising_steps=sampler.denoising_steps if steps is None else steps,
        context_mode=mode,
        context_noise=0.0 if mode in NOISELESS_MODES else float(noise),
    )


def find_agents(card: Card, dream: DreamEnv, names: Sequence[str]) -> dict[str, PolicyFactory]:
    """Find the agents that can play a world.

    Args:
        card: the world's card.
        dream: the environment in which they will play.
        names: more agents to find, by their names in `dfgym.agents.players`.

    Returns:
        By label: `random`, `scripted` where the game has such a player, and those of `names`.

    Raises:
        ConfigError: one of `names` does not exist, or does not fit the world.
    """
    size = card.frames.height, card.frames.width
    source, env_id = Source(dream, renders=False, size=size, actions=card.actions), card.source.env
    agents = {"random": make_factory("random", env_id, source)}
    try:
        agents["scripted"] = make_factory("scripted:0", env_id, source)
    except ConfigError:
        pass  # few games have a scripted player
    return agents | {label(name): make_factory(name, env_id, source) for name in names}


def label(agent: str) -> str:
    """Return an agent's name for the page: without the folder of its file."""
    kind, _, path = agent.rpartition(":")
    return f"{kind}:{Path(path).name}" if agent.endswith(".zip") else agent


def pick_starts(starts: Starts) -> list[tuple[int, int]]:
    """Pick about a dozen starts, as (episode, frame).

    The first is where an episode begins; the others lie evenly over all the frames.
    """
    picked = {(0, 0): None}
    offsets = starts.offsets.tolist()
    positions = np.linspace(0, offsets[-1], NUM_STARTS, endpoint=False)[1:].astype(int).tolist()
    for position in positions:
        episode = int(np.searchsorted(starts.offsets, position, side="right")) - 1
        length = offsets[episode + 1] - offsets[episode]
        # Nothing follows an episode's last frame.
        picked[episode, min(position - offsets[episode], max(length - 2, 0))] = None
    return list(picked)
