"""Planning a world of any game from its id and a time: what to record, and how to train on it."""

from __future__ import annotations

import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from msgspec import Meta

from dfgym import games
from dfgym.agents.players import make_factory
from dfgym.checks import check, parse_table
from dfgym.data import summary
from dfgym.data.record import Recording, record
from dfgym.data.store import EpisodeStore
from dfgym.data.survey import PALETTE, Facts, look
from dfgym.data.view import decide
from dfgym.errors import ConfigError
from dfgym.frames import nearest_size
from dfgym.train import choose
from dfgym.train.config import TrainConfig
from dfgym.train.finetune import adopt, survey_run
from dfgym.train.launch import launch
from dfgym.train.pack import Presentation
from dfgym.train.recipe import Recipe
from dfgym.train.survey import survey
from dfgym.world import shelf

DEFAULT_MINUTES = 60.0
RECORD_SHARE = 0.1
"""The share of the time that may go into recording."""
MOST_FRAMES, MOST_BYTES = 600_000, 2**30
"""More is not recorded, however fast the game is."""
LEAST_FRAMES = 2_000
LONGEST_EPISODE = 2_000
"""Steps after which an episode is cut in the recording, so that others come too."""
PROBE_SECONDS = 4.0
"""So long is recorded to see how fast the game is, and how it looks."""
STARTUP_SECONDS = 6.0
"""A training takes so long besides its steps, if it has not been measured."""
PREVIEW_SECONDS = 20.0
"""A preview is trained for so long, where the recording would keep the first picture waiting."""
LARGE, SIDE, SMALL_SIDE = 96, 64, 32
"""Frames with a side beyond `LARGE` become `SIDE` high and wide, or `SMALL_SIDE` where they are
drawn in few colours and everything that moves is large."""
LARGE_MOVER = 16
"""Cells of a thing that is still plain to see at half the height and width."""


@dataclass(frozen=True)
class Game:
    """The game of a world that is planned by itself."""

    env: str = ""
    """Make a world of this game, without a recipe: a Gymnasium id, `module:id` or `module:Class`.
    Everything else is chosen, and written as a recipe into the run's folder."""
    minutes: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    """Time for recording, training and a quick evaluation together; an hour if a game is given
    without it. With a recipe, its training ends by the clock instead of by its steps."""
    policies: dict[str, float] | None = None
    """Who plays, and which share of the frames, as in `dfgym record`. If left out, the scripted
    player of a game that has one, and random players."""
    env_kwargs: str = "{}"
    """Keywords of `gymnasium.make`, as JSON."""
    resize: tuple[int, int] | None = None
    """Bring frames to this height and width; if left out, large ones are made smaller."""
    filter: Literal["auto", "area", "nearest", "contrast"] = "auto"
    """How, as in `dfgym record`."""
    wrapper: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A wrapper around the game, `module:Class`, as in `dfgym record`."""
    from_world: Annotated[str, tyro.conf.arg(aliases=["--from"])] = ""
    """Begin with the weights of this world, of the same game or of one of the same shape."""
    image_key: str = ""
    """The way to the picture in Dict and Tuple observations, with dots."""

    def __post_init__(self) -> None:
        """Refuse a time that is out of range."""
        check(self, ConfigError)

    def check_planned(self, recipe: Recipe, path: Path) -> None:
        """Check that an earlier plan, which is followed, says what these flags say.

        Raises:
            ConfigError: it says something else.
        """
        wanted, default = self.recording(), Game(self.env).recording()
        names = ("env", "policies", "env_kwargs", "resize", "filter", "wrappers", "image_key")
        triples = [
            (name, *(getattr(one, name) for one in (recipe.record, wanted, default)))
            for name in names
        ]
        triples.append(("from_world", recipe.train.from_world, self.from_world, ""))
        for name, planned, value, left_out in triples:
            if value != planned and (name == "env" or value != left_out):
                raise ConfigError(
                    f"{path} is a plan whose {name} is {planned!r}, and {name} is {value!r}; "
                    "remove that folder, or choose another name"
                )

    def check_unplanned(self) -> None:
        """Check that nothing but the time is asked for where a recipe is followed.

        Raises:
            ConfigError: something is, which would go unheard.
        """
        for name, value in vars(self).items():
            if name not in ("env", "minutes") and value != getattr(Game, name):
                raise ConfigError(
                    f"{name} is {value!r} and a recipe is followed, which says that itself; write "
                    "it there and give the file with --recipe, or name a game with --env"
                )

    def recording(self) -> Recording:
        """Return what is recorded, but for how much and, if left open, at which size.

        Raises:
            ConfigError: a flag is malformed.
        """
        return Recording(
            self.env,
            frames=2,
            policies=self.policies or {"random": 0.5, "sticky-random": 0.5},
            max_episode_steps=LONGEST_EPISODE,
            env_kwargs=parse_table(self.env_kwargs, "env-kwargs", ConfigError),
            resize=self.resize or (),
            filter=self.filter,
            wrappers=self.wrapper,
            image_key=self.image_key,
        )


@dataclass
class Budget:
    """The time that a world may take.

    Attributes:
        seconds: in all.
        begin: when the command began, by `time.monotonic`.
        spent: seconds of earlier calls.
    """

    seconds: float
    begin: float
    spent: float = 0.0

    @property
    def rest(self) -> float:
        """Seconds that are left."""
        return self.seconds - self.spent - (time.monotonic() - self.begin)


def plan(
    game: Game, budget: Budget, run: Path, device: torch.device, processes: int | None
) -> tuple[Recipe, dict[str, str]]:
    """Record a game and choose how to train on it; say both, and return the dials' reasons too.

    Args:
        game: what to make a world of.
        budget: how long it may take.
        run: the folder for data and the run.
        device: where it is trained.
        processes: that train; as many as fit if None.

    Raises:
        ConfigError: the game cannot be recorded, or its frames cannot be learned.
    """
    recording, store, rate = _probe(game, run)
    config = TrainConfig(
        data=(run / "data",),
        out=run / "train",
        device=str(device),
        minutes=budget.seconds / 60,
        from_world=game.from_world,
    )
    check_probe(game, store)
    frames = _count_frames(rate, budget.seconds, store)
    startup = STARTUP_SECONDS
    if frames / rate > PREVIEW_SECONDS and len(store) > 1:
        startup = _preview(config, store, run, device, processes)
    recording = dataclasses.replace(recording, frames=frames)
    print(f"recording {frames:,} frames: {rate:,.0f} a second, {frames / rate:.0f} s")
    stores = [record(recording, run / "data", make_factory)]
    facts, game_survey = look(stores), survey_run(config, stores)
    print(summary.describe(facts))
    choice = choose.choose(config, facts, game_survey, stores, device, processes)
    seconds = train_seconds(budget, startup + evaluation_seconds(choice, rate))
    choice.config = dataclasses.replace(choice.config, minutes=round(seconds / 60, 3))
    choose.pace(choice)
    print(choose.describe(choice, game_survey))
    return Recipe(recording, choice.config, Presentation()), choice.reasons


def check_probe(game: Game, store: EpisodeStore) -> None:
    """Refuse by the first frames what the whole recording would be refused for.

    Args:
        game: what is recorded.
        store: its first frames.

    Raises:
        ConfigError: no network cuts them into patches, or they do not fit the world that the
            training begins with.
    """
    size = store.frame_shape[:2]
    if (better := nearest_size(*size)) != size:
        raise ConfigError(
            f"resize is {size[0]} {size[1]}, which no network cuts into few patches; the nearest "
            f"size that is cut: --resize {better[0]} {better[1]}"
        )
    if game.from_world and len(store) > 1:
        card, facts = shelf.card(game.from_world), survey([store], 0.5)
        if not card.frames.palette:  # a longer recording may have more colours yet
            facts = dataclasses.replace(facts, palette=())
        adopt(facts, card)


def train_seconds(budget: Budget, evaluation: float, trained: float = 0.0) -> float:
    """Return the time to train for: what the evaluation leaves, and a fifth of all at least.

    Args:
        budget: the time of everything.
        evaluation: what packing and evaluating will take.
        trained: what of the time that is spent was training already.
    """
    return max(budget.rest + trained - evaluation, budget.seconds / 5)


def evaluation_seconds(choice: choose.Choice, rate: float) -> float:
    """Estimate what packing and a quick evaluation take.

    Args:
        choice: knows the time of a training step.
        rate: frames a second of the real game, which is played too.
    """
    config = choice.config
    frame = choice.step_seconds * choice.processes / (config.batch * config.length)
    return 20 + 12_000 * frame + 8_000 / rate


def _probe(game: Game, run: Path) -> tuple[Recording, EpisodeStore, float]:
    """Record for some seconds; choose size and players, and measure frames a second."""
    recording = game.recording()
    if not recording.resize and game.from_world:
        frames = shelf.card(game.from_world).frames
        recording = dataclasses.replace(recording, resize=(frames.height, frames.width))
    elif not recording.resize:
        small = dataclasses.replace(recording, resize=(SIDE, SIDE))
        _, source, looks = decide(small.opening, recording.seed)  # its size only: no filter yet
        source.env.close()
        shape = looks[0].shape if looks else (SIDE, SIDE)
        if max(shape[:2]) > LARGE:
            recording = small
            print(f"frames of {shape[0]} x {shape[1]} become {SIDE} x {SIDE}: see --resize")
        elif (size := nearest_size(*shape[:2])) != shape[:2]:
            recording = dataclasses.replace(recording, resize=size)
            print(f"frames of {shape[0]} x {shape[1]} become {size[0]} x {size[1]}, as a network "
                  "cuts them into patches: see --resize")  # fmt: skip
    if game.policies is None and can_play(recording):
        recording = dataclasses.replace(
            recording,
            policies={"scripted:0.05": 0.4, "scripted:0.2:0.5": 0.3, "random": 0.15,
                      "sticky-random": 0.15},
        )  # fmt: skip
    store, rate = _record_briefly(recording, run / "probe")
    facts = look([store])
    if not game.resize and not game.from_world and recording.resize and _is_coarse(facts):
        recording = dataclasses.replace(recording, resize=(SMALL_SIDE, SMALL_SIDE))
        print(f"everything that moves is large: {SMALL_SIDE} x {SMALL_SIDE} is enough")
        store, rate = _record_briefly(recording, run / "probe-small")
    return recording, store, rate


def can_play(recording: Recording) -> bool:
    """Whether a scripted player knows the game, as it is recorded."""
    game = games.find(recording.env)
    return game is not None and not recording.env_kwargs and not recording.wrappers


def _is_coarse(facts: Facts) -> bool:
    return facts.colours <= PALETTE and (facts.mover or 0) >= LARGE_MOVER


def _record_briefly(recording: Recording, folder: Path) -> tuple[EpisodeStore, float]:
    """Record for about `PROBE_SECONDS`, anew; returns the data and frames a second."""
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier call: it tells no time
    frames, seconds, before = 64, 0.0, 0
    while True:
        began = time.monotonic()
        beginning = dataclasses.replace(recording, frames=frames)
        store = record(beginning, folder, make_factory, progress=False)
        took, count = time.monotonic() - began, store.num_frames - before
        seconds, before = seconds + took, store.num_frames
        if seconds > PROBE_SECONDS or store.num_frames > LEAST_FRAMES:
            return store, max(count, 1) / took
        frames = 4 * store.num_frames


def _count_frames(rate: float, seconds: float, store: EpisodeStore) -> int:
    """How many frames to record: what a share of the time allows, within bounds."""
    size = 1
    for side in store.frame_shape:
        size *= side
    most = min(MOST_FRAMES, MOST_BYTES // size)
    return int(min(max(rate * RECORD_SHARE * seconds, LEAST_FRAMES), most))


def _preview(
    config: TrainConfig, store: EpisodeStore, run: Path, device: torch.device, count: int | None
) -> float:
    """Train for some seconds on the probe, for a first picture of the dream.

    Returns:
        The seconds that a training takes besides its steps, to start and to end.
    """
    config = dataclasses.replace(
        config, data=(store.path,), out=run / "preview", minutes=PREVIEW_SECONDS / 60
    )
    game = survey_run(config, [store])
    choice = choose.choose(config, look([store]), game, [store], device, count)
    print(f"a preview first, {PREVIEW_SECONDS:g} s of training: {config.out / 'strips'}")
    began = time.monotonic()
    launch(choice.config, choice.processes)
    return max(0.0, time.monotonic() - began - PREVIEW_SECONDS)
