"""Clocks: does a game begin as it should, where sequences were cut out of the middle of games?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from dfgym.agents.players import make_factory
from dfgym.data.record import Recording, record
from dfgym.model.config import ModelConfig
from dfgym.statistics import mean_interval
from dfgym.study.composition import toy_config
from dfgym.study.figures import bars
from dfgym.study.runner import StudyRunner
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table
from dfgym.train.loop import train
from dfgym.train.pack import pack
from dfgym.world import bundle
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

GAMES = ("breakout",)
SIDE, PACES, EPISODE = 7, (2, 3, 4, 5, 6), 40
WINDOW, LENGTH, BATCH, TRAIN = 13, 36, 10, 1500
ROWS, STEPS, SEEDS = 500, 24, 3
PASTS = {"any past": 1, "whole pasts": WINDOW}
"""The arms: how much past a frame must have in its sequence to count, see `TrainConfig.past`."""
LEGAL = 0.95


class Clock(gym.Env[np.ndarray, Any]):
    """A dot that goes round a ring, a cell each so many steps, from 2 to 6 in each episode.

    The first move comes as late as all others. Actions are of no effect.
    """

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012  Gymnasium's form

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin anywhere, at any pace."""
        super().reset(seed=seed)
        self.column, self.time = int(self.np_random.integers(SIDE)), 0
        self.pace = int(self.np_random.choice(PACES))
        return draw(self.column), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move, if it is time."""
        self.time += 1
        self.column = (self.column + (self.time % self.pace == 0)) % SIDE
        return draw(self.column), 0.0, False, self.time == EPISODE - 1, {}


def draw(column: int) -> np.ndarray:
    """Draw the dot, uint8 `(SIDE, SIDE, 3)`."""
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    frame[SIDE // 2, column] = 255
    return frame


def _reaches(game: Numbers, arm: str) -> bool:
    return bool(game[arm]["lawful"] >= LEGAL)


def _beats(game: Numbers) -> bool:
    whole, cut = (game[arm]["interval"] for arm in ("whole pasts", "any past"))
    return bool(whole[0] > cut[1])


CONDITIONS = (
    Condition("games keep one pace from their first frame more often with whole pasts", _beats),
    Condition(f"{LEGAL:.0%} of them do so", partial(_reaches, arm="whole pasts")),
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Train on sequences that begin anywhere, counting all frames or those of whole pasts."""
    quick = runner.scale.horizon < 100
    rows, steps, seeds = (8, 4, 1) if quick else (ROWS, STEPS, SEEDS)
    numbers: dict[str, Any] = {}
    for arm in PASTS:
        worlds = [learn(runner, arm, seed) for seed in range(seeds)]
        lawful, early = zip(*(judge(dream(world, rows, steps)) for world in worlds), strict=True)
        by_seed = [float(games.mean()) for games in lawful]
        mean = float(np.mean(by_seed))
        low, high = mean_interval(by_seed) or (mean, mean)
        numbers[arm] = {
            "lawful": mean,
            "by_seed": by_seed,
            "interval": [max(low, 0.0), min(high, 1.0)],
            "early": float(np.mean(early)),
        }
    shares = {arm: of_arm["lawful"] for arm, of_arm in numbers.items()}
    body = [
        [
            *(arm, f"{of_arm['lawful']:.1%}"),
            " to ".join(f"{end:.1%}" for end in of_arm["interval"]),
            ", ".join(f"{share:.1%}" for share in of_arm["by_seed"]),
            f"{of_arm['early']:.1%}",
        ]
        for arm, of_arm in numbers.items()
    ]
    return Finding(
        "Whole pasts",
        "a sequence that is cut out of the middle of a game teaches the network how games begin "
        "if its first frames do not count, and something else if they do.",
        "; ".join(
            f"{share:.1%} of the games keep their pace with {a}" for a, share in shares.items()
        )
        + ".",
        dict.fromkeys(games, numbers),
        "A toy: a dot goes round a ring, a cell each 2 to 6 steps, at a pace that an episode keeps "
        "from its first frame on. A sequence that is cut out of an episode looks as if one began "
        "there, with a clock that stands anywhere. 'Any past' counts all frames but the first of "
        f"such a sequence, 'whole pasts' those before which it has {WINDOW} (`--past {WINDOW}` of "
        f"`dfgym train`); all else is the same: {train_steps(quick)} steps of {BATCH} x {LENGTH} "
        f"frames, a window of {WINDOW}. A game is lawful if all its moves, the first one too, keep "
        f"one pace; moves at the first step are always too early. {seeds} trainings an arm, "
        f"{rows} dreams of {steps} frames each, from the first frame; intervals are over "
        "trainings.\n\n"
        + table(("counted", "lawful", "95 % interval", "by training", "too early"), body),
        bars({"a clock": shares}, "lawful games", "share of games"),
        source="Ours",
    )


def train_steps(quick: bool) -> int:
    """Return the steps of each training."""
    return 4 if quick else TRAIN


def learn(runner: StudyRunner, arm: str, seed: int) -> World:
    """Return the world of an arm and a seed, trained if it is missing."""
    quick = runner.scale.horizon < 100
    data, folder = runner.folder / "clock" / "data", runner.folder / "clock" / f"{arm}-{seed}"
    if not data.is_dir():
        recording = Recording("dfgym.study.clocks:Clock", 800 if quick else 60_000)
        record(recording, data, make_factory, env=Clock)
    if not (folder / "world").is_dir():
        model = ModelConfig(
            kind="transformer", dim=64, depth=3, heads=4, patch=SIDE, window=WINDOW, mixture=2
        )
        config = toy_config(data, folder / "run", train_steps(quick), LENGTH, model)
        train(dataclasses.replace(config, batch=BATCH, past=PASTS[arm], seed=seed))
        pack(folder / "run", folder / "world", "clock-v0")
    return bundle.load(folder / "world")


def dream(world: World, rows: int, steps: int) -> np.ndarray:
    """Dream games from their first frames; returns the frames `(rows, steps + 1, h, w, 3)`."""
    dynamics = Dynamics(world, rows, Settings(device="cpu"))
    frames = [np.stack([draw(row % SIDE) for row in range(rows)])]
    starts = [(frame[None], np.zeros(0, np.int64)) for frame in frames[0]]
    dynamics.reset(np.arange(rows), np.arange(rows), starts)
    frames += [dynamics.step(np.zeros(rows, np.int64)).frames for _ in range(steps)]
    return np.stack(frames, 1)


def judge(frames: np.ndarray) -> tuple[np.ndarray, float]:
    """Judge games, `(b, t, h, w, 3)`.

    Returns:
        Whether each keeps one pace from its first frame on, bool `(b,)`, and the share of those
        whose first move comes at the first step.
    """
    shows = np.asarray((frames > 127).all(-1))
    whole = (shows.sum((2, 3)) == 1) & shows[:, :, SIDE // 2].any(-1)
    columns = shows[:, :, SIDE // 2].argmax(-1)
    moves = np.diff(columns, axis=1) % SIDE
    times = np.arange(1, frames.shape[1])
    lawful = np.zeros(len(frames), bool)
    for pace in PACES:
        lawful |= (moves == (times % pace == 0)).all(1)
    return lawful & whole.all(1), float((moves[:, 0] != 0).mean())
