"""Product: do two fine-tuned worlds, multiplied, obey the rules of both (row D15)?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from dfgym.agents.players import make_factory
from dfgym.data.record import Recording, record
from dfgym.model.config import ModelConfig
from dfgym.planning.product import ProductDream
from dfgym.statistics import bootstrap_interval
from dfgym.study.composition import toy_config
from dfgym.study.figures import bars
from dfgym.study.runner import StudyRunner
from dfgym.study.verdict import Condition
from dfgym.study.write import Finding, table
from dfgym.train.config import TrainConfig
from dfgym.train.loop import train
from dfgym.train.pack import pack
from dfgym.world import bundle
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

GAMES = ("breakout",)
SIDE, LENGTH, ROWS, STEPS = 7, 12, 256, 8
BASE = "near"
RULES = {"near": (-1, 1), "right": (1,), "far": (-2, 2)}
"""How many columns a dot may move, each as likely: what games are made of."""
COLOURS = ((255, 80, 80), (80, 160, 255))
LEGAL, TRAIN, TUNE = 0.98, 800, 400
NAMES = ("first alone", "second alone", "product")


class Pair(gym.Env[np.ndarray, Any]):
    """Two dots that go round a ring each, by a rule each; actions are of no effect."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012  Gymnasium's form

    def __init__(self, upper: str = BASE, lower: str = BASE) -> None:
        self.rules = (RULES[upper], RULES[lower])
        self.observation_space = gym.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin anywhere."""
        super().reset(seed=seed)
        self.columns, self.time = self.np_random.integers(SIDE, size=2), 0
        return draw(self.columns), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move both dots."""
        moves = [self.np_random.choice(rule) for rule in self.rules]
        self.columns, self.time = (self.columns + moves) % SIDE, self.time + 1
        return draw(self.columns), 0.0, False, self.time == LENGTH - 1, {}


CONDITIONS = tuple(
    Condition(
        f"of the transitions of the product {LEGAL:.0%} obey both rules, where each is '{rule}'",
        lambda game, rule=rule: bool(game[rule]["product"]["legal"] >= LEGAL),  # type: ignore[misc]
    )
    for rule in RULES
    if rule != BASE
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Fine-tune a world to each rule alone, and judge their product by both."""
    quick = runner.scale.horizon < 100
    rows_of_dreams, steps = (8, 2) if quick else (ROWS, STEPS)
    base = learn(runner, BASE, BASE, None)
    numbers: dict[str, Any] = {}
    rows, shares = [], {}
    for rule in (rule for rule in RULES if rule != BASE):
        worlds = [learn(runner, rule, BASE, base), learn(runner, BASE, rule, base)]
        dreams: list[Any] = [Dynamics(world, rows_of_dreams, CPU) for world in worlds]
        dreams.append(ProductDream(base, worlds, rows_of_dreams, CPU))
        judged = [judge(dream, RULES[rule], steps) for dream in dreams]
        numbers[rule] = dict(zip(NAMES, judged, strict=True))
        shares[rule] = {name: of_name["legal"] for name, of_name in numbers[rule].items()}
        rows += [
            [
                *(rule, name, f"{of_name['legal']:.1%}"),
                " to ".join(f"{end:.1%}" for end in of_name["interval"]),
                f"{of_name['distance']:.2f}",
            ]
            for name, of_name in numbers[rule].items()
        ]
    sentences = [
        f"two dots of the rule '{rule}': {of_rule['product']:.1%} of the product's transitions "
        f"obey both, {of_rule['first alone']:.1%} and {of_rule['second alone']:.1%} of a world's"
        for rule, of_rule in shares.items()
    ]
    return Finding(
        "Product of worlds",
        "worlds that have each learned one rule can be multiplied to a world of both.",
        "; ".join(sentences) + ".",
        dict.fromkeys(games, numbers),
        "A toy: two dots go round a ring each, one column to the left or to the right by chance. "
        f"The base learns that ({TRAIN} steps), and two worlds are fine-tuned from it ({TUNE} "
        "steps each) to games in which one dot alone has another rule: 'right', one column to the "
        "right (less chance), or 'far', two columns to either side (what the base has never seen). "
        "No world has seen two dots of the new rule. The product is base * (first / base) * "
        "(second / base), over outcomes and cells together. A transition is legal if both dots "
        "move by the new rule. Distance: total variation between how often each pair of moves "
        f"comes and the even chance of both rules. {rows_of_dreams} dreams of {steps} frames; "
        "intervals are over dreams, each world was trained once.\n\n"
        + table(("rule", "dreams of", "legal", "95 % interval", "distance"), rows),
        bars(shares, "obey both rules", "share of transitions"),
    )


CPU = Settings(device="cpu")


def draw(columns: np.ndarray) -> np.ndarray:
    """Draw two dots, uint8 `(SIDE, SIDE, 3)`."""
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    for row, column, colour in zip((1, SIDE - 2), columns, COLOURS, strict=True):
        frame[row, column] = colour
    return frame


def learn(runner: StudyRunner, upper: str, lower: str, base: World | None) -> World:
    """Return the world of two rules, trained if it is missing, from a base if there is one."""
    folder, quick = runner.folder / "pair" / f"{upper}-{lower}", runner.scale.horizon < 100
    if not (folder / "world").is_dir():
        rules = {"upper": upper, "lower": lower}
        recording = Recording("dfgym.study.product:Pair", 400 if quick else 6000, env_kwargs=rules)
        record(recording, folder / "data", make_factory, env=Pair)
        steps = 4 if quick else TUNE if base else TRAIN
        train(_config(folder, base, steps))
        pack(folder / "run", folder / "world", "pair-v0")
    return bundle.load(folder / "world")


def _config(folder: Path, base: World | None, steps: int) -> TrainConfig:
    model = ModelConfig(
        kind="transformer", dim=32, depth=2, heads=2, patch=SIDE, window=1, mixture=6
    )
    config = toy_config(folder / "data", folder / "run", steps, LENGTH, model)
    return config if base is None else dataclasses.replace(config, from_world=str(base.path))


def judge(dream: Any, rule: Sequence[int], steps: int) -> dict[str, Any]:
    """Dream, and judge every transition by one rule for both dots.

    Args:
        dream: has `reset` and `step` as `Dynamics` has.
        rule: by how many columns either dot may move.
        steps: frames of each dream.
    """
    rows = dream.num_rows
    random = np.random.default_rng(0)
    frames = np.stack([draw(columns) for columns in random.integers(SIDE, size=(rows, 2))])
    dream.reset(
        np.arange(rows), np.arange(rows), [(f[None], np.zeros(0, np.int64)) for f in frames]
    )
    expected = {moves: np.zeros((rows, steps), bool) for moves in product(rule, repeat=2)}
    for step in range(steps):
        after = dream.step(np.zeros(rows, np.int64)).frames
        both = (after > 0).any(-1).sum((1, 2)) == 2  # a dot that was lost obeys no rule
        for moves, came in expected.items():
            came[:, step] = both & (after == move(frames, moves)).all((1, 2, 3))
        frames = after
    legal = sum(expected.values(), np.zeros((rows, steps)))
    even = 1 / len(expected)
    share = {moves: float(came.mean()) for moves, came in expected.items()}
    lost = 1 - sum(share.values())
    return {
        "legal": float(legal.mean()),
        "interval": bootstrap_interval(legal.mean(1), lambda s: s.mean(-1)),
        "distance": (sum(abs(value - even) for value in share.values()) + lost) / 2,
    }


def move(frames: np.ndarray, moves: Sequence[int]) -> np.ndarray:
    """Return frames `(n, SIDE, SIDE, 3)` whose dots have moved by so many columns."""
    moved = frames.copy()
    for row, columns in zip((1, SIDE - 2), moves, strict=True):
        moved[:, row] = np.roll(frames[:, row], columns, axis=1)
    return moved
