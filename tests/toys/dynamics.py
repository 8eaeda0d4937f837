"""A toy with the signature of `Dynamics`, for tests of the shells: ends and rewards on cue.

A dot walks over the frame: the action and a number drawn from (seed, step) move it, and now and
then an episode ends. It costs no network, depends on nothing but its row, and keeps its state in
plain arrays.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from dfgym.diffusion.noise import mix
from dfgym.world.bundle import Starts, World
from dfgym.world.card import Actions, Episode, Frames
from dfgym.world.outcomes import Transition
from dfgym.world.settings import Settings
from toys.world import toy_card

H, W, N = 4, 6, 3
SCALE = 9  # observations of 36 x 54: the least that SB3's CNN takes is 36
MAX_STEPS = 12
NAME, OTHER = "toy-v0", "toy-other-v0"


class ToyDynamics:
    """Rows of (seed, step, frame); `END` is how often, one step in so many, an episode ends."""

    END = 9

    def __init__(self, world: World, num_rows: int, settings: Settings) -> None:
        self.world, self.settings, self.exact = world, settings, False
        self.seed = np.zeros(num_rows, np.int64)
        time, frame = np.zeros(num_rows, np.int64), np.zeros((num_rows, H, W, 3), np.uint8)
        self.present = frame, time

    def reset(
        self,
        rows: np.ndarray,
        seeds: np.ndarray,
        contexts: list[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        frame, time = self.present
        self.seed[rows], time[rows] = seeds, 0
        for row, (frames, actions) in zip(rows, contexts, strict=True):
            assert len(frames) == len(actions) + 1
            frame[row] = frames[-1]

    def frames(self) -> np.ndarray:
        return self.present[0].copy()

    def propose(self, actions: np.ndarray) -> tuple[Transition, tuple[np.ndarray, np.ndarray]]:
        assert actions.dtype == np.int64 and actions.shape == self.seed.shape
        frame, time = self.present[0], self.present[1] + 1
        draws = np.array([mix(int(s), int(t)) for s, t in zip(self.seed, time, strict=True)])
        moves = draws % 5 + 7 * actions
        frame = np.stack(
            [np.roll(f + np.uint8(m), m, 1) for f, m in zip(frame, moves, strict=True)]
        )
        terminated = draws % self.END == 0
        transition = Transition(
            frames=frame.copy(),
            rewards=(draws % 3 - 1).astype(np.float64),
            terminated=terminated,
            termination_probability=np.where(terminated, 0.9, 0.01),
            uncertainty=(draws % 100) / 100,
        )
        return transition, (frame, time)

    def get_state(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        frame, time = self.present
        return {"seed": self.seed[rows], "time": time[rows], "frame": frame[rows]}

    def set_state(self, rows: np.ndarray, state: dict[str, np.ndarray]) -> None:
        frame, time = self.present
        self.seed[rows], time[rows], frame[rows] = state["seed"], state["time"], state["frame"]


def toy_world(name: str = NAME) -> World:
    """Three held-out episodes of 2, 5 and 9 frames; no two frames are equal."""
    offsets = np.array([0, 2, 7, 16])
    frames = np.arange(16 * H * W * 3).reshape(16, H, W, 3).astype(np.uint8)
    frames[:, 0, 0, 0] = np.arange(16)
    starts = Starts(frames, np.arange(16) % N, offsets, np.arange(3))
    card = toy_card(
        name=name,
        frames=Frames(H, W, SCALE, 30, ()),
        actions=Actions(N, ("stay", "left", "right"), keys={"a": 1, "right": 2}),
        episode=Episode(MAX_STEPS),
    )
    return World(card, name.ljust(64, "0"), Path("/nowhere") / name, {}, starts)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put two toy worlds in the place of all others.

    Registers `Toy-v0`, whose limit is the card's 12 steps, and `Limited-v0`, registered with 5.
    """
    worlds = {name: toy_world(name) for name in (NAME, OTHER)}
    monkeypatch.setattr("dfgym.env.rows.load", worlds.__getitem__)
    monkeypatch.setattr("dfgym.env.rows.Dynamics", ToyDynamics)
    for id, limit in (("Toy-v0", None), ("Limited-v0", 5)):
        spec = EnvSpec(
            id,
            "dfgym.env.env:DreamEnv",
            vector_entry_point="dfgym.env.vector:DreamVectorEnv",
            kwargs={"world": NAME},
            max_episode_steps=limit,
        )
        monkeypatch.setitem(gym.registry, id, spec)
