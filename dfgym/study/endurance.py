"""Endurance: in 10,000 frames of the shipped worlds, do pictures stay real and actions matter?"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.evaluation import drift
from dfgym.evaluation.rollout import find_game
from dfgym.files import write_json
from dfgym.study.figures import lines
from dfgym.study.games import RECIPES
from dfgym.study.runner import FORMAT, StudyRunner
from dfgym.study.verdict import Condition
from dfgym.study.write import Finding, table
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics

GAMES = ("breakout", "cartpole")
ROWS = 4
HELD = 10
"""Steps for which each action is held, until its effect must show."""
BAND = 4.0
"""The standard deviations of the real game's blocks by which the dream's may be off."""
MEASURES = ("brightness", "detail", "change")
JUDGED = {
    "breakout": ("illegal_per_1000", "illegal in 1,000"),
    "cartpole": ("drawn_error", "picture error"),
}
CONDITIONS = (
    Condition(
        "at the end, every action still does what it should", lambda game: game["obeyed"] == 1
    ),
    Condition(
        "brightness, detail and change of every block are within the real game's band",
        lambda game: all(share == 1 for share in game["inside"].values()),
    ),
)
HEADER = ("game", "measure", "real game", "dream", "its last block", "blocks inside the real band")


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Let the scripted player play on and on, then look whether actions still matter."""
    numbers: dict[str, dict[str, Any]] = {}
    groups: dict[str, tuple[list[float], dict[str, list[float]]]] = {}
    sentences, rows, comparisons = [], [], []
    for game in games:
        world = shelf.load(RECIPES[game])
        report = measure_drift(runner, game, world)
        dream, real = report["dream"], report["real"]
        within = {name: inside_share(dream[name], real[name]) for name in MEASURES}
        numbers[game] = {**report, "inside": within}
        blocks = [float(report["block"] * (i + 1)) for i in range(len(dream["detail"]))]
        details = {name: report[name]["detail"] for name in ("dream", "real")}
        groups[f"{game}, detail"] = (blocks, details)
        for name, label in ({name: name for name in MEASURES} | dict([JUDGED[game]])).items():
            means = (np.mean(real[name]), np.mean(dream[name]), dream[name][-1])
            share = f"{within[name]:.0%}" if name in within else "-"
            rows.append([game, label, *(f"{value:.3g}" for value in means), share])
        source_game, obeyed = find_game(world.card), report["obeyed"]
        effect = "led to another frame" if source_game is None else source_game.obedience
        sentences.append(
            f"In {world.card.name}, at the end, another action, held for {HELD} steps from the "
            f"same state and noise, {effect} in {obeyed:.0%} of the cases, {ROWS} dreams."
        )
        shares = ", ".join(f"{name} {share:.0%}" for name, share in within.items())
        comparisons.append(f"{game}: actions matter in {obeyed:.0%}; blocks in band: {shares}")
    return Finding(
        f"{runner.scale.long:,} frames",
        "a video model becomes a simulator when its generation is long.",
        "; ".join(comparisons) + ".",
        numbers,
        f"{ROWS} dreams are played on without a limit by the scripted player; a game that ends "
        "begins anew. Each run is cut into blocks, of which brightness, fine detail and the share "
        "of changed pixels are taken. The band is that of the real game's blocks, "
        f"{BAND:g} deviations wide to either side, so as narrow as its player is steady. "
        f"{' '.join(sentences)}\n\n{table(HEADER, rows)}",
        lines(groups, f"{runner.scale.long:,} frames", "frames", "mean difference of neighbours"),
        source="The deck, D2",
    )


def measure_drift(runner: StudyRunner, game: str, world: World) -> dict[str, Any]:
    """Return the report of `drift` and whether actions are obeyed at the end; kept on disk."""
    card = world.card
    # Not the world's hash, which changes with the measurements on the card.
    made_by = (card.files.weights, card.files.starts, dataclasses.asdict(card.sampler))
    origin = (FORMAT, runner.scale.long, ROWS, HELD, *made_by)
    name = hashlib.sha256(json.dumps(origin).encode()).hexdigest()[:16]
    path = runner.folder / game / "measured" / "long" / f"{name}.json"
    if not path.is_file():
        running: list[Dynamics] = []

        def make(rows: int) -> Dynamics:
            running.append(Dynamics(world, rows))
            return running[-1]

        report = drift.track(make, card, runner.scale.long, ROWS)
        write_json(path, {**report, "obeyed": obedience(running[0])})
    return dict(json.loads(path.read_text()))


def inside_share(dream: Sequence[float], real: Sequence[float]) -> float:
    """Return the share of the dream's blocks that lie in the real game's band."""
    middle, width = np.mean(real), BAND * np.std(real)
    return float((np.abs(np.array(dream) - middle) <= width).mean())


def obedience(dynamics: Dynamics) -> float:
    """Return the share of rows and pairs of actions that lead to different frames.

    Where the game says what its actions do, the frames must differ as they should.
    """
    rows = np.arange(dynamics.num_rows)
    state = dynamics.get_state(rows)
    frames = []
    space = dynamics.world.card.actions
    for action in space.extremes():
        dynamics.set_state(rows, state)
        for _ in range(HELD):
            dynamics.step(space.stack([action] * len(rows)))
        frames.append(dynamics.frames())
    dynamics.set_state(rows, state)
    game = find_game(dynamics.world.card)
    if game is not None and game.obeys is not None:
        return float(game.obeys(frames).mean())
    pairs = [
        (first != second).any((1, 2, 3))
        for i, first in enumerate(frames)
        for second in frames[i + 1 :]
    ]
    return float(np.mean(pairs))
