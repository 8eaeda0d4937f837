"""Record a real environment, played by a mix of policies, into a data set."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dfgym.agents.players import VERSION, make_factory
from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError, DataError
from dfgym.games.source import Source, SourcePolicy, open_source

EPISODE_CAP = 10_000  # steps; an episode is held in memory until it ends


def record(
    env_id: str,
    out: str | os.PathLike[str],
    frames: int,
    policies: Mapping[str, float] | None = None,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    resize: tuple[int, int] | None = None,
    max_episode_steps: int = EPISODE_CAP,
    progress: bool = True,
) -> EpisodeStore:
    """Record whole episodes until there are at least `frames` frames.

    An episode is a function of `seed` and its number, so a recording that was killed and started
    again is the one that it would have been, and a larger `frames` only adds to it.

    Args:
        env_id: a Gymnasium id with discrete actions, and uint8 `(h, w, 3)` observations or
            `rgb_array` rendering.
        out: the data set's folder; one that exists already is continued.
        frames: how many to record, those already there included.
        policies: name to share of the frames (see `dfgym.agents.players`); default: random.
        seed: of everything.
        env_kwargs: for `gymnasium.make`.
        resize: height and width to bring the frames to.
        max_episode_steps: longer episodes are truncated there.
        progress: draw a progress bar.

    Raises:
        ConfigError: an argument is not allowed, or the environment cannot be recorded.
        DataError: `out` holds another recording, or another process is writing it.
        MissingPackageError: the environment, a policy or resizing needs a package.
    """
    shares = _check_shares({"random": 1.0} if policies is None else policies)
    if seed < 0:
        raise ConfigError(f"seed {seed} must be 0 or more")
    if frames < 2 or max_episode_steps < 1:
        raise ConfigError(
            f"frames {frames} must be at least 2, max_episode_steps {max_episode_steps} at least 1"
        )
    source = open_source(env_id, env_kwargs, resize)
    try:
        makers = {name: make_factory(name, env_id, source) for name in shares}
        meta = {
            "env": env_id,
            "kwargs": dict(env_kwargs or {}),
            "versions": source.versions(),
            "frame_shape": list(_first_frame(source, seed).shape),
            "fps": source.env.metadata.get("render_fps"),
            "actions": source.num_actions,
            "meanings": source.meanings,
            "policies": shares,
            "players": VERSION,  # so that no other player goes on under the same name
            "seed": seed,
            "max_episode_steps": max_episode_steps,
        }
        with (
            _open(Path(out), meta) as store,
            tqdm(
                total=frames,
                initial=store.num_frames,
                unit="frame",
                disable=not progress or store.num_frames >= frames,
            ) as bar,
        ):
            played = dict.fromkeys(shares, 0)
            for index, episode in enumerate(store.episodes):
                if episode.policy not in played:
                    raise DataError(
                        f"{out}/episodes.jsonl: episode {index} was played by {episode.policy!r}, "
                        f"and meta.json names {', '.join(played)}; record into another folder"
                    )
                played[episode.policy] += episode.frames
            while store.num_frames < frames:
                # The policy that is furthest behind its share: no draw, so nothing to resume.
                name = max(shares, key=lambda p: shares[p] * (store.num_frames + 1) - played[p])
                chance = np.random.SeedSequence([seed, len(store)])
                env_seed = int(chance.generate_state(1)[0])
                player = makers[name](chance.spawn(1)[0])
                rows = _play(source, player, env_seed, max_episode_steps)
                store.append(*rows, seed=env_seed, policy=name)
                played[name] += len(rows[0])
                bar.update(min(len(rows[0]), frames - bar.n))
        return store
    finally:
        source.env.close()


def _play(
    source: Source, player: SourcePolicy, seed: int, max_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool, bool]:
    """Play one episode; returns frames, actions, rewards, terminated, truncated."""
    observation, _ = source.env.reset(seed=seed)
    frames, actions, rewards = [source.frame(observation)], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = player(observation, frames[-1])
        observation, reward, terminated, truncated, _ = source.env.step(source.to_env(action))
        frames.append(source.frame(observation))
        actions.append(action)
        rewards.append(float(reward))
        truncated = truncated or (not terminated and len(actions) >= max_steps)
    return (
        np.stack(frames),
        np.array(actions, np.int64),
        np.array(rewards, np.float32),
        bool(terminated),
        bool(truncated),
    )


def _first_frame(source: Source, seed: int) -> np.ndarray:
    frame = source.frame(source.env.reset(seed=seed)[0])
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ConfigError(
            f"{source.env} draws frames of {frame.dtype} {frame.shape}; they must be uint8 "
            "(h, w, 3)"
        )
    return frame


def _open(out: Path, meta: dict[str, Any]) -> EpisodeStore:
    """Make the data set, or continue the one there if it is the same recording."""
    try:
        wanted = json.loads(json.dumps(meta, allow_nan=False))
    except (TypeError, ValueError) as reason:
        raise ConfigError(f"env_kwargs {meta['kwargs']} must be plain values: {reason}") from reason
    if not (out / "meta.json").exists():
        store = EpisodeStore.create(out, wanted)
    else:
        store = EpisodeStore.open(out)
        found = {key: value for key, value in store.meta.items() if key != "format"}
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                raise DataError(
                    f"{out} is another recording: its {key} is {found.get(key)!r}, not "
                    f"{wanted.get(key)!r}; record into another folder, or with the same arguments"
                )
    store.lock()  # before the first episode is played, and with it the latest list of episodes
    return store


def _check_shares(policies: Mapping[str, float]) -> dict[str, float]:
    total = sum(policies.values())
    if not policies or not all(share > 0 and np.isfinite(share) for share in policies.values()):
        raise ConfigError(f"policies {dict(policies)} must be names with shares above 0")
    return {name: share / total for name, share in policies.items()}
