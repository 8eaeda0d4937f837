"""A toy to learn in seconds: a bright dot walks left and right, with a reward at one wall."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from dfgym.data.store import EpisodeStore
from dfgym.model.config import ModelConfig
from dfgym.train.config import TrainConfig
from dfgym.world.card import Sampler

SIDE = 6
META = {
    "env": "toy/Walk-v0",
    "kwargs": {},
    "versions": {},
    "frame_shape": [SIDE, SIDE, 3],
    "fps": 10,
    "actions": 2,
    "meanings": ["left", "right"],
    "policies": {"random": 1.0},
    "seed": 0,
}
GROUND, DOT = (0, 0, 40), (250, 200, 0)


def draw(place: int) -> np.ndarray:
    """Draw the dot at a column: uint8 `(SIDE, SIDE, 3)`."""
    frame = np.full((SIDE, SIDE, 3), GROUND, np.uint8)
    frame[SIDE // 2, place] = DOT
    return frame


def walk(
    rng: np.random.Generator, steps: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Return an episode's frames, actions, rewards, and whether it terminated.

    The reward is 1 on arrival at the right wall, which also ends the episode.
    """
    place = int(rng.integers(0, SIDE - 1))
    frames, actions, rewards = [draw(place)], [], []
    for _ in range(steps):
        action = int(rng.random() < 0.5)
        place = max(place + (1 if action else -1), 0)
        frames.append(draw(place))
        actions.append(action)
        rewards.append(float(place == SIDE - 1))
        if place == SIDE - 1:
            break
    return np.stack(frames), np.array(actions), np.array(rewards, np.float32), bool(rewards[-1])


def record(path: Path, episodes: int = 200, seed: int = 0) -> Path:
    """Write a data set of walks; return its folder."""
    rng = np.random.default_rng(seed)
    with EpisodeStore.create(path, META) as store:
        for number in range(episodes):
            frames, actions, rewards, terminated = walk(rng)
            store.append(
                frames,
                actions,
                rewards,
                terminated,
                not terminated,
                seed=number,
                policy="random",
            )
    return path


def tiny(walks: Path, out: Path, **changes: object) -> TrainConfig:
    """Return the configuration of the shortest training, with these changes."""
    config = TrainConfig(
        data=(walks,),
        out=out,
        steps=8,
        image_steps=2,
        batch=4,
        length=6,
        warmup=0.2,
        precision="float32",
        checkpoint_every=5,
        strip_every=0,
        model=ModelConfig(kind="transformer", dim=16, depth=1, heads=2, patch=2, window=3),
        sampler=Sampler(denoising_steps=2, shift=1.0, context_mode="clean", context_noise=0.0),
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]
