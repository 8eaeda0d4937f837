"""Record a real environment, played by a mix of policies, into a data set."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium as gym
from msgspec import Meta
from tqdm import tqdm

from dfgym.checks import check, shorten, to_plain
from dfgym.data.cluster import Cluster
from dfgym.data.crew import Crew, MakeFactory, Plan
from dfgym.data.game import Game
from dfgym.data.store import EpisodeStore
from dfgym.data.view import decide, draw_preview
from dfgym.errors import ConfigError, DataError
from dfgym.files import write_png
from dfgym.games import POLICY_VERSION
from dfgym.games.packages import may_import, split_id, split_wrapper
from dfgym.games.resizing import Filter
from dfgym.games.source import MakeEnv, Opening, Source

PREVIEW = "preview.png"
"""The file that shows a frame before and after it is resized."""
MIN_EPISODES = 2
"""A training holds one episode out."""


@dataclass(frozen=True)
class Recording:
    """What is recorded: an environment, and who plays it."""

    env: str
    """Gymnasium id, `module:id` where a module registers it, or `module:Class`. Its observations
    hold a picture, or it renders `rgb_array`; its actions are of any kind that has bounds."""
    frames: Annotated[int, Meta(ge=2)]
    """Frames to record in all; whole episodes, so there can be more."""
    policies: dict[str, Annotated[float, Meta(gt=0)]] = field(
        default_factory=lambda: {"random": 1.0}
    )
    """Share of the frames that each player records, by the player's name."""
    seed: Annotated[int, Meta(ge=0)] = 0
    """Seed of the game and the players."""
    max_episode_steps: Annotated[int, Meta(ge=1)] = 10_000
    """Longer episodes are truncated there; an episode is held in memory until it ends."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keywords of `gym.make`."""
    resize: tuple[Annotated[int, Meta(ge=1, le=512)], ...] = ()
    """Height and width of the frames, or nothing for the game's own."""
    filter: Filter | Literal["auto"] = "auto"
    """How frames are brought to that size: `area` takes means, `nearest` a pixel of each block,
    `contrast` the one that stands out; `auto` looks at the game and says what it takes."""
    wrappers: tuple[str, ...] = ()
    """Wrappers around the environment, from the inside out: `module:Class`, and behind a space its
    keywords as JSON."""
    image_key: str = ""
    """The way to the picture through Dict and Tuple observations, with dots between."""
    render: bool = False
    """Record what `render()` draws though observations hold a picture."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be recorded."""
        check(self, ConfigError)
        if not self.policies:
            raise ConfigError("policies is an empty table; expected players' names with shares")
        if len(self.resize) not in (0, 2):
            raise ConfigError(
                f"resize is {list(self.resize)}; expected height and width, or nothing"
            )

        split_id(self.env)
        for wrapper in self.wrappers:
            split_wrapper(wrapper)

    @property
    def opening(self) -> Opening:
        """How the game is opened, as far as it is said."""
        module, env = split_id(self.env)
        kind = "area" if self.filter == "auto" else self.filter
        return Opening(
            env=env,
            kwargs=self.env_kwargs,
            module=module,
            wrappers=self.wrappers,
            image_key=self.image_key,
            render=self.render,
            size=self.size,
            filter=kind,
        )

    @property
    def modules(self) -> set[str]:
        """The modules that are imported for it at its author's word."""
        names = {split_id(self.env)[0], *(split_wrapper(text)[0] for text in self.wrappers)}
        return names - {""}

    def check_trust(self, where: str) -> None:
        """Refuse to run code that only a file names.

        Args:
            where: the file.

        Raises:
            ConfigError: it names a module that is not known, or a player that is a file or code.
        """
        foreign = [name for name in self.policies if name.startswith(("sb3:", "module:"))]
        if module := split_id(self.env)[0]:
            foreign += [module] * (not may_import(module))
        for wrapper in self.wrappers:
            module, name, _ = split_wrapper(wrapper)
            foreign += [module] * (not may_import(module, name))
        if foreign:
            raise ConfigError(
                f"{where} names {', '.join(map(shorten, foreign))}, which would run code; if you "
                "trust the file and those, add --trust"
            )

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the frames; None: the game's own."""
        return (self.resize[0], self.resize[1]) if self.resize else None

    @property
    def shares(self) -> dict[str, float]:
        """The policies' shares of the frames, which add up to 1."""
        total = sum(self.policies.values())
        return {name: share / total for name, share in self.policies.items()}


def record(
    recording: Recording,
    out: str | os.PathLike[str],
    make_factory: MakeFactory,
    progress: bool = True,
    env: gym.Env[Any, Any] | MakeEnv | None = None,
    processes: int | Cluster = 1,
    shard: tuple[int, int] = (1, 1),
) -> EpisodeStore:
    """Record whole episodes until there are at least `recording.frames` frames.

    An episode is a function of the seed and its number, so a recording that was killed and started
    again is the one that it would have been, and a larger `frames` only adds to it.

    Args:
        recording: what to record.
        out: the data set's folder; one that exists already is continued.
        make_factory: finds the players by their names (`dfgym.agents.players.make_factory`).
        progress: draw a progress bar.
        env: an environment, or a function that makes it, instead of the one that `recording.env`
            names. A class or a function of a module that can be imported is kept as the way to open
            the game again.
        processes: how many play on this machine, or a cluster whose processes play; the recording
            is the same with any.
        shard: `(i, n)`: record the i-th of n shares of it, as on n machines; see
            `dfgym.data.merge`.

    Raises:
        ConfigError: The environment cannot be recorded, or there is no such player or cluster.
        DataError: `out` holds another recording, or another process is writing it.
        MissingPackageError: The environment, a policy or resizing needs a package.
    """
    elsewhere = isinstance(processes, Cluster)
    count = processes.processes if isinstance(processes, Cluster) else processes
    _check_work(env, max(count, 2) if elsewhere else count, shard)
    opening, make = _of_python(recording.opening, env)
    opening, source, looks = decide(opening, recording.seed, recording.filter == "auto", make)
    names = tuple(recording.shares)
    limit = recording.max_episode_steps
    plan = Plan(opening, make, make_factory, names, recording.seed, limit)
    total = -(-recording.frames // shard[1])
    try:
        factories = plan.factories(source)
        meta = _meta(recording, opening, source)
        if shard[1] > 1:
            meta["shard"] = list(shard)
        with (
            _open(Path(out), meta) as store,
            Crew(plan, processes) if elsewhere or count > 1 else nullcontext() as crew,
            tqdm(
                total=total,
                initial=store.num_frames,
                unit="frame",
                disable=not progress or store.num_frames >= total,
            ) as bar,
        ):
            if looks and not (store.path / PREVIEW).exists():
                write_png(store.path / PREVIEW, draw_preview(looks, opening))
            turns = _Turns(store, recording.shares, shard)
            while store.num_frames < total or len(store) < (MIN_EPISODES if shard[1] == 1 else 1):
                number, name = turns.next()
                if crew is None:
                    tick = partial(_tick, bar)
                    episode = plan.play(source, factories, (number, name), tick)
                else:
                    crew.expect(turns.ahead(count + 1))
                    episode = crew.collect(number)
                    bar.update(min(len(episode.frames), total - bar.n))
                store.append(*episode[:-1], seed=episode.seed, policy=name)
                turns.add(name, len(episode.frames))
        return store
    finally:
        source.env.close()


def _tick(bar: tqdm[Any]) -> None:
    bar.update(bar.n < (bar.total or 0))


def _check_work(
    env: gym.Env[Any, Any] | MakeEnv | None, processes: int, shard: tuple[int, int]
) -> None:
    if processes < 1:
        raise ConfigError(f"processes is {processes}; expected at least 1")
    if not 1 <= shard[0] <= shard[1]:
        raise ConfigError(f"shard is {shard[0]}/{shard[1]}; expected i/n with i from 1 to n")
    if processes > 1 and env is not None and not _is_importable(env):
        raise ConfigError(
            f"processes is {processes}, and they cannot import `env`; expected a class or a "
            "function of a module"
        )


def _is_importable(env: gym.Env[Any, Any] | MakeEnv) -> bool:
    module, name = getattr(env, "__module__", ""), getattr(env, "__qualname__", "")
    return name.isidentifier() and module not in ("", "__main__")


def _of_python(
    opening: Opening, env: gym.Env[Any, Any] | MakeEnv | None
) -> tuple[Opening, MakeEnv | None]:
    """Return how an environment is opened again, if it can be, and what makes it now."""
    if env is None:
        return opening, None
    if isinstance(env, gym.Env):
        if opening.kwargs:
            raise ConfigError(
                f"env_kwargs is {dict(opening.kwargs)} and `env` is made already; give the "
                "function that makes it, or leave env_kwargs out"
            )
        ready = env
        return opening, lambda: ready
    if _is_importable(env):
        opening = dataclasses.replace(opening, env=env.__qualname__, module=env.__module__)
    return opening, partial(env, **opening.kwargs)


def _meta(recording: Recording, opening: Opening, source: Source) -> dict[str, Any]:
    special = {
        name: to_plain(getattr(opening, name))
        for name in ("module", "wrappers", "image_key", "render", "filter")
        if getattr(opening, name) != getattr(Opening(""), name)
    }
    if source.max_steps is not None:
        special["max_steps"] = source.max_steps
    return {
        "env": opening.env,
        "kwargs": dict(opening.kwargs),
        **special,
        "versions": source.versions(),
        "frame_shape": list(Game(source, opening.env).reset(recording.seed)[2].shape),
        "fps": _fps(source),
        "actions": source.actions.to_plain(),
        "meanings": source.meanings,
        "policies": recording.shares,
        "players": POLICY_VERSION,  # so that no other player goes on under the same name
        "seed": recording.seed,
        "max_episode_steps": recording.max_episode_steps,
    }


def _fps(source: Source) -> float | None:
    """Return the game's frames a second as a plain number; None if it says nothing of use."""
    try:
        fps = float(source.env.metadata.get("render_fps", "none"))
    except (TypeError, ValueError):
        return None
    if not 1 <= fps <= 1000:
        return None
    return int(fps) if fps.is_integer() else fps


class _Turns:
    """Who plays which episode: the player that is furthest behind its share of the frames.

    Without a draw, so that there is nothing to resume.
    """

    def __init__(
        self, store: EpisodeStore, shares: Mapping[str, float], shard: tuple[int, int]
    ) -> None:
        self.shares, self.shard = shares, shard
        self.episodes = dict.fromkeys(shares, 0)
        self.frames: dict[str, float] = dict.fromkeys(shares, 0)
        for index, episode in enumerate(store.episodes):
            if episode.policy not in shares:
                raise DataError(
                    f"{store.path}/episodes.jsonl: episode {index} was played by "
                    f"{episode.policy!r}, and meta.json names {', '.join(shares)}; record into "
                    "another folder"
                )
            self.add(episode.policy, episode.frames)

    def add(self, name: str, frames: float) -> None:
        """Count an episode."""
        self.episodes[name] += 1
        self.frames[name] += frames

    def next(self) -> tuple[int, str]:
        """Return the number of the next episode, and who plays it."""
        first, step = self.shard
        total = sum(self.frames.values()) + 1
        name = max(self.shares, key=lambda name: self.shares[name] * total - self.frames[name])
        return first - 1 + step * sum(self.episodes.values()), name

    def ahead(self, count: int) -> list[tuple[int, str]]:
        """Return the next episodes as they will be if they are as long as those before."""
        turns = copy.copy(self)
        turns.episodes, turns.frames = dict(self.episodes), dict(self.frames)
        mean = sum(self.frames.values()) / max(1, sum(self.episodes.values())) or 1
        episodes = []
        for _ in range(count):
            number, name = turns.next()
            episodes.append((number, name))
            own = self.frames[name] / self.episodes[name] if self.episodes[name] else mean
            turns.add(name, own)
        return episodes


def _open(out: Path, meta: dict[str, Any]) -> EpisodeStore:
    """Make the data set, or continue the one there if it is the same recording."""
    try:
        expected = json.loads(json.dumps(meta, allow_nan=False))
    except (TypeError, ValueError) as reason:
        raise ConfigError(
            f"env_kwargs is {meta['kwargs']}; expected plain values: {reason}"
        ) from reason
    if not (out / "meta.json").exists():
        store = EpisodeStore.create(out, expected)
    else:
        store = EpisodeStore.open(out)
        present = {key: value for key, value in store.meta.items() if key != "format"}
        for key in sorted(present.keys() | expected.keys()):
            if present.get(key) != expected.get(key):
                raise DataError(
                    f"{out} is another recording: its {key} is {present.get(key)!r}, not "
                    f"{expected.get(key)!r}; record into another folder, or with the same arguments"
                )
    store.lock()  # before the first episode is played, and with it the latest list of episodes
    return store
