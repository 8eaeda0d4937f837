"""A trace of a shipped world that holds everywhere; `python tests/env/test_trace.py` writes it.

The last bits of a network's numbers differ between processors, so no hash of them is kept. But this
world draws one of a few joint next frames, by noise that is counted and not computed, and every
cell of it is then the colour with the highest score. Both turn over only where two numbers nearly
meet: the trace stays the same when every weight moves by a random 0.01 % of itself. A trace that
differs says that the weights, the sampler, the noise or the starts have changed their meaning,
which is a new version of the world, or a mistake.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np

import dfgym

FILE = Path(__file__).with_name("breakout_trace.txt")
# Seeds, and what a player pressed in these dreams; in the later three it loses a ball.
ACTIONS = {
    0: "000000220112010010000000000011",
    3: "020000101000000022201000000200",
    5: "000000022000000012101201002202",
    11: "201122200001200010000000020122",
}
# The palette by its red channel: empty, paddle, ball, trail, brick.
SYMBOLS = {0: ".", 22: "=", 84: "o", 208: "-", 193: "#"}


def as_text(observation: np.ndarray) -> str:
    cells = observation[::4, ::4, 0].tolist()
    return "/".join("".join(SYMBOLS[cell] for cell in row) for row in cells)


def trace() -> str:
    """Play every seed's actions; a line a frame: action, reward, whether it ended, the frame."""
    env = gym.make("DFWorld/minatar-breakout-v0", device="cpu")
    lines = []
    for seed, actions in ACTIONS.items():
        observation, _ = env.reset(seed=seed)
        lines.append(f"seed {seed}: {as_text(observation)}")
        for action in actions:
            observation, reward, terminated, truncated, _ = env.step(int(action))
            end = "end" if terminated else "..."
            lines.append(f"{action} {reward:+g} {end} {as_text(observation)}")
            if terminated or truncated:
                observation, _ = env.reset()
                lines.append(f"reset: {as_text(observation)}")
    env.close()
    return "\n".join([f"# dfgym {dfgym.__version__}, minatar-breakout-v0", *lines, ""])


def test_the_shipped_world_dreams_the_same_frames_on_every_machine() -> None:
    expected, actual = FILE.read_text().splitlines(), trace().splitlines()
    assert actual[1:] == expected[1:]
    assert sum(" +1 " in line for line in actual) >= 4
    assert sum(" end " in line for line in actual) == 3


if __name__ == "__main__":
    FILE.write_text(trace())
