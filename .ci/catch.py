"""Count the dreamt frames of Catch that do not show exactly one falling thing.

    python .ci/own_games.py --only catch --minutes 60 --out trial
    DFGYM_WORLDS=trial/worlds python .ci/catch.py trial-catch-v0 --denoising-steps 1 2 4 8

Ten games of 500 frames, random play. Of the real game's frames each shows one.
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import numpy as np

import dfgym  # noqa: F401  registers DFWorld
from dfgym.statistics import bootstrap_interval

THINGS = ((255, 60, 60), (60, 220, 60))
"""The colours of what falls."""
GAMES, FRAMES, SIDE = 10, 500, 12


def count_things(frames: np.ndarray) -> np.ndarray:
    """Count what falls in frames `(b, h, w, 3)`, which may be drawn larger than the game's."""
    frames = frames[:, :: frames.shape[1] // SIDE, :: frames.shape[2] // SIDE]
    apart = [np.abs(frames.astype(int) - colour).sum(-1) < 60 for colour in THINGS]
    return np.asarray(np.any(apart, 0).sum((1, 2)))


def dream(world: str, denoising_steps: int) -> np.ndarray:
    """Play at random; returns the number of things in each frame, `(FRAMES, GAMES)`."""
    games = gym.make_vec(
        f"DFWorld/{world}",
        num_envs=GAMES,
        vectorization_mode="vector_entry_point",
        denoising_steps=denoising_steps,
    )
    games.reset(seed=0)
    random = np.random.default_rng(0)
    counts = [count_things(games.step(random.integers(3, size=GAMES))[0]) for _ in range(FRAMES)]
    games.close()
    return np.stack(counts)


def main() -> None:
    """Print a line for each number of denoising steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("world")
    parser.add_argument("--denoising-steps", type=int, nargs="*", default=[4])
    options = parser.parse_args()
    for steps in options.denoising_steps:
        counts = dream(options.world, steps)
        wrong = bootstrap_interval(FRAMES * (counts != 1).mean(0), lambda sample: sample.mean(-1))
        print(
            f"{steps} denoising steps: of {FRAMES} frames {FRAMES * (counts != 1).mean():.1f} "
            f"({wrong[0]:.1f} to {wrong[1]:.1f}) are wrong: {FRAMES * (counts == 0).mean():.1f} "
            f"without a thing, {FRAMES * (counts > 1).mean():.1f} with several"
        )


if __name__ == "__main__":
    main()
