"""One player's game: the dream, its timeline, the real game beside it, and who is at the controls.

Nothing here waits, and nothing knows a browser. One thread at a time may use a session, but for
`hold`, which may be called at any moment: a key must not wait for the step that is being made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import numpy as np

from dfgym.agents.players import Player
from dfgym.env.actions import check_action
from dfgym.errors import ConfigError, DfgymError, StateError
from dfgym.frames import upscale
from dfgym.play import messages
from dfgym.play.choices import find_agents, label, settle, spread
from dfgym.play.dream import Dream
from dfgym.play.messages import Settings
from dfgym.play.save import Film
from dfgym.play.timeline import Timeline
from dfgym.play.twin import LAWFUL, Twin
from dfgym.world import shelf
from dfgym.world.device import pick_device

HUMAN = "human"


class Session:
    """A game being played.

    Args:
        world: a world's name on the shelf, or the path of its folder.
        device: a torch device, or "auto".
        settings: keywords of `DreamEnv`: denoising_steps, context_mode, context_noise.
        agents: those to offer besides what every world has, by the names that
            `dfgym.agents.players` gives them.
        agent: who begins, one of `agents`; None: the human.
        real: begin with the real game beside the dream, where it is installed.
        seed: of the starts, the noise and the agents; None: others each time.

    Attributes:
        world: the world.
        device: where the dream runs.
        agents: the agents' names, as the player knows them, and what makes their players.
        agent: who is at the controls; None: the human.
        starts: held-out episodes and frames in them to begin from.
        no_key: the action that is played while no key is held.
        why: why there is no real game, or what to know about it.
        paused: whether no step is due.
        speed: steps a second; 0: as many as there can be.
        settings: how the next step is made.
        timeline: the running episode.
        episode: how many have begun.

    Raises:
        WorldError, ConfigError, DeviceError: an argument is not allowed.
    """

    def __init__(
        self,
        world: str,
        *,
        device: str = "auto",
        settings: Mapping[str, Any] | None = None,
        agents: Sequence[str] = (),
        agent: str | None = None,
        real: bool = True,
        seed: int | None = None,
    ) -> None:
        self._chance = np.random.default_rng(seed)
        self.world = shelf.load(world)
        card = self.world.card
        self._scale = card.frames.observation_scale
        self.device = str(pick_device(device))
        self.settings = settle(card, **(settings or {}))
        self._dream = Dream(self.world, world, device, self.settings)
        self.agents = find_agents(card, self._dream.env, agents)
        self.agent = None if agent is None else label(agent)
        self._player: Player | None = None
        self.starts = spread(self.world.starts)
        with_key = set(card.actions.keys.values())
        self.no_key = next((a for a in range(card.actions.n) if a not in with_key), 0)
        self._held = self._obeyed = (self.no_key, 0)  # an action, and the page's number for it
        self._tap: tuple[int, int] | None = None  # pressed and let go before a step could obey
        self.paused, self.speed, self.episode = False, float(card.frames.fps), 0
        self.why = LAWFUL
        self._notice: str | None = None
        self._twin: Twin | None = None
        self._wants_real = real
        try:
            self._twin = Twin(self.world)
        except DfgymError as reason:
            self.why = str(reason)
        self.begin()
        if (refused := self.take_notice()) is not None:
            self.why, self._twin = refused, None

    # --- What is there ----------------------------------------------------------------------------

    @property
    def has_real(self) -> bool:
        """Whether the real game can be shown."""
        return self._twin is not None

    @property
    def real_on(self) -> bool:
        """Whether it is wanted, and there."""
        return self._wants_real and self.has_real

    @property
    def beside(self) -> bool:
        """Whether it is shown beside the shown frame."""
        return self.real_on and self.timeline.now.real is not None

    @property
    def input(self) -> int:
        """The page's number for the action that was obeyed last."""
        return self._obeyed[1]

    @property
    def urgent(self) -> bool:
        """Whether the player holds another action than the one that was obeyed last."""
        return self.agent is None and (self._tap or self._held)[0] != self._obeyed[0]

    def film(self) -> Film:
        """The running episode up to the shown frame; it stays as it is."""
        timeline = self.timeline
        moments = timeline.moments[: timeline.cursor - timeline.first + 1]
        return Film(self.world.card, moments, self.beside, self._seed)

    def take_notice(self) -> str | None:
        """Words for the player that have come up since this was last asked."""
        words, self._notice = self._notice, None
        return words

    # --- What the player asks for -----------------------------------------------------------------

    def hold(self, action: int, number: int) -> None:
        """Hold an action from now on; one that was too short for any step is played once first.

        Raises:
            ActionError: there is no such action.
        """
        check_action(action, self.world.card.actions.n)
        if self.urgent and not self.paused:
            self._tap = self._tap or self._held
        self._held = action, number

    def apply(self, message: messages.Message) -> None:
        """Do what a message asks for.

        Raises:
            ConfigError, ActionError: that is not possible; nothing has changed.
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
            case messages.Agent(name):
                if name is not None and name not in self.agents:
                    known = ", ".join(self.agents)
                    raise ConfigError(f"there is no agent {name[:80]!r}; there are {known}")
                self.agent, self._player, self._tap = name, None, None
            case Settings():
                self.settings = settle(self.world.card, **dataclasses.asdict(message))
            case messages.Speed(fps):
                self.speed = fps
            case messages.Real(on):
                if on and self._twin is None:
                    raise ConfigError(self.why)
                self._wants_real = on
                self._follow()
            case messages.Ack():
                pass  # the connection's
            case _:
                assert_never(message)

    # --- The game ---------------------------------------------------------------------------------

    def begin(self, start: int | None = None) -> None:
        """Begin an episode: at one of the starts, or where any held-out episode began.

        Raises:
            ConfigError: there is no such start.
        """
        if start is not None and not 0 <= start < len(self.starts):
            raise ConfigError(f"start is {start}; allowed is 0 to {len(self.starts) - 1}")
        anywhere = int(self._chance.integers(len(self.world.starts)))
        episode, frame = self._start = (anywhere, 0) if start is None else self.starts[start]
        frames, actions = self.world.starts.episode(episode)
        first = max(0, frame + 1 - self.world.card.model.window)
        self.timeline = Timeline(frames[first : frame + 1], actions[first:frame])
        self._seed = int(self._chance.integers(2**32))
        self._dream.begin(self._seed)
        self._player = self._tap = None
        self.episode += 1
        self._follow()

    def advance(self) -> None:
        """Play a step from the shown frame on, or begin the next episode if this one is over.

        Raises:
            StateError: the dream could not be taken back exactly.
        """
        if self.timeline.ended:
            self.begin()
            return
        timeline = self.timeline
        if timeline.cursor < timeline.length:
            timeline.branch()
            self._player = None  # it remembers a future that is no more
            if self._twin is not None and self.beside:
                self._twin.rewind(timeline.actions)
        self._dream.stand(timeline, self.settings)
        before = timeline.now
        moment = self._dream.step(timeline, self._choose(before.frame), self.agent or HUMAN)
        if self._twin is not None and self.beside and before.real is not None:
            assert moment.action is not None
            real = self._twin.step(before.real, moment.action, timeline.cursor + 1, moment.frame)
            moment = dataclasses.replace(moment, real=real)
        timeline.append(moment)
        self._dream.keep(timeline)

    def close(self) -> None:
        """Let go of both games."""
        self._dream.close()
        if self._twin is not None:
            self._twin.close()

    def _choose(self, frame: np.ndarray) -> int:
        """The agent's action, or the human's: a tap between two steps comes before what is held."""
        if self.agent is None:
            tap, self._tap = self._tap, None
            self._obeyed = tap or self._held
            return self._obeyed[0]
        if self._player is None:
            chance = np.random.SeedSequence(int(self._chance.integers(2**32)))
            self._player = self.agents[self.agent](chance)
        return self._player(upscale(frame, self._scale), frame)

    def _follow(self) -> None:
        """Let the real game play what the dream has played, if it is wanted."""
        if self._twin is None or not self._wants_real:
            return
        try:
            self._twin.begin(*self._start)
        except StateError as reason:
            self._notice = str(reason)
            return
        self._twin.follow(self.timeline)
