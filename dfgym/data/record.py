"""Record a real environment, played by a mix of policies, into a data set."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from tqdm import tqdm

from dfgym.checks import check
from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError, DataError
from dfgym.games import POLICY_VERSION
from dfgym.games.source import PolicyFactory, Source, SourcePolicy, open_source

MakeFactory = Callable[[str, str, Source], PolicyFactory]
"""Finds a policy factory by a player's name, for an environment's id and the environment."""


@dataclass(frozen=True)
class Recording:
    """What is recorded: an environment, and who plays it."""

    env: str
    """Gymnasium id with uint8 `(h, w, 3)` observations or `rgb_array` rendering, and actions of any
    kind that has bounds."""
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

    def __post_init__(self) -> None:
        """Refuse values that cannot be recorded."""
        check(self, ConfigError)
        if not self.policies:
            raise ConfigError("policies is an empty table; expected players' names with shares")
        if len(self.resize) not in (0, 2):
            raise ConfigError(
                f"resize is {list(self.resize)}; expected height and width, or nothing"
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
) -> EpisodeStore:
    """Record whole episodes until there are at least `recording.frames` frames.

    An episode is a function of the seed and its number, so a recording that was killed and started
    again is the one that it would have been, and a larger `frames` only adds to it.

    Args:
        recording: what to record.
        out: the data set's folder; one that exists already is continued.
        make_factory: finds the players by their names (`dfgym.agents.players.make_factory`).
        progress: draw a progress bar.

    Raises:
        ConfigError: The environment cannot be recorded, or there is no such player.
        DataError: `out` holds another recording, or another process is writing it.
        MissingPackageError: The environment, a policy or resizing needs a package.
    """
    source = open_source(recording.env, recording.env_kwargs, recording.size)
    try:
        factories = {name: make_factory(name, recording.env, source) for name in recording.shares}
        with _open(Path(out), _meta(recording, source)) as store:
            frames = _count_frames(store, recording.shares)
            with tqdm(
                total=recording.frames,
                initial=store.num_frames,
                unit="frame",
                disable=not progress or store.num_frames >= recording.frames,
            ) as bar:
                while store.num_frames < recording.frames:
                    name = _furthest_behind(recording.shares, frames, store.num_frames + 1)
                    chance = np.random.SeedSequence([recording.seed, len(store)])
                    env_seed = int(chance.generate_state(1)[0])
                    policy = factories[name](chance.spawn(1)[0])
                    episode = _play(source, policy, env_seed, recording.max_episode_steps)
                    store.append(*episode, seed=env_seed, policy=name)
                    length = len(episode[0])
                    frames[name] += length
                    bar.update(min(length, recording.frames - bar.n))
        return store
    finally:
        source.env.close()


def _meta(recording: Recording, source: Source) -> dict[str, Any]:
    return {
        "env": recording.env,
        "kwargs": dict(recording.env_kwargs),
        "versions": source.versions(),
        "frame_shape": list(_first_frame(source, recording.seed).shape),
        "fps": source.env.metadata.get("render_fps"),
        "actions": source.actions.to_plain(),
        "meanings": source.meanings,
        "policies": recording.shares,
        "players": POLICY_VERSION,  # so that no other player goes on under the same name
        "seed": recording.seed,
        "max_episode_steps": recording.max_episode_steps,
    }


def _count_frames(store: EpisodeStore, shares: Mapping[str, float]) -> dict[str, int]:
    """Count the frames that each policy has recorded.

    Raises:
        DataError: An episode is of another policy.
    """
    frames = dict.fromkeys(shares, 0)
    for index, episode in enumerate(store.episodes):
        if episode.policy not in frames:
            raise DataError(
                f"{store.path}/episodes.jsonl: episode {index} was played by {episode.policy!r}, "
                f"and meta.json names {', '.join(frames)}; record into another folder"
            )
        frames[episode.policy] += episode.frames
    return frames


def _furthest_behind(shares: Mapping[str, float], frames: Mapping[str, int], total: int) -> str:
    """Return the policy that plays next; without a draw, there is nothing to resume."""
    return max(shares, key=lambda name: shares[name] * total - frames[name])


def _play(
    source: Source, policy: SourcePolicy, seed: int, max_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool, bool]:
    """Play one episode; returns frames, actions, rewards, terminated, truncated."""
    observation, _ = source.env.reset(seed=seed)
    frames, actions, rewards = [source.frame(observation)], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = policy(observation, frames[-1])
        observation, reward, terminated, truncated, _ = source.env.step(source.to_env(action))
        frames.append(source.frame(observation))
        actions.append(action)
        rewards.append(float(reward))
        truncated = truncated or (not terminated and len(actions) >= max_steps)
    return (
        np.stack(frames),
        source.actions.stack(actions),
        np.array(rewards, np.float32),
        bool(terminated),
        bool(truncated),
    )


def _first_frame(source: Source, seed: int) -> np.ndarray:
    frame = source.frame(source.env.reset(seed=seed)[0])
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ConfigError(
            f"{source.env} draws frames of {frame.dtype} {frame.shape}; expected uint8 (h, w, 3)"
        )
    return frame


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
