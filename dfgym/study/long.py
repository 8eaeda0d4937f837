"""10,000 frames in one go, of the worlds that ship: do pictures stay real and actions matter?"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.evaluation.drift import drift
from dfgym.evaluation.legality import find_game
from dfgym.files import write_json
from dfgym.study.findings import Finding, lines, table
from dfgym.study.games import RECIPES
from dfgym.study.lab import FORMAT, Lab
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics

GAMES = ("breakout", "cartpole")
ROWS = 4
HELD = 10
"""Steps that each action is held for, until its effect must show."""
BAND = 4.0
"""How many deviations of the real game's blocks the dream's may be off."""
MEASURES = ("brightness", "detail", "change")
JUDGED = {
    "breakout": ("illegal_per_1000", "illegal in 1,000"),
    "cartpole": ("drawn_error", "picture error"),
}
HEADER = ("game", "measure", "real game", "dream", "its last block", "blocks inside the real band")


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Let the scripted player play on and on, then look whether actions still matter."""
    numbers: dict[str, dict[str, Any]] = {}
    groups: dict[str, tuple[list[float], dict[str, list[float]]]] = {}
    told, rows = [], []
    for game in games:
        world = shelf.load(RECIPES[game])
        found = measured(lab, game, world)
        within = {name: inside(found["dream"][name], found["real"][name]) for name in MEASURES}
        obeyed = found["obeyed"]
        source_game = find_game(world.card)
        effect = "led to another frame" if source_game is None else source_game.obedience
        numbers[game] = {**found, "inside": within}
        blocks = [float(found["block"] * (i + 1)) for i in range(len(found["dream"]["detail"]))]
        groups[f"{game}, detail"] = (
            blocks,
            {name: found[name]["detail"] for name in ("dream", "real")},
        )
        names = {name: name for name in MEASURES} | dict([JUDGED[game]])
        for name, said in names.items():
            dream, real = found["dream"][name], found["real"][name]
            means = (f"{value:.3g}" for value in (np.mean(real), np.mean(dream), dream[-1]))
            rows.append([game, said, *means, f"{within[name]:.0%}" if name in within else "-"])
        told.append(
            f"In {world.card.name}, at the end, another action, held for {HELD} steps from the "
            f"same state and noise, {effect} in {obeyed:.0%} of the cases, {ROWS} dreams."
        )
    return Finding(
        "long",
        f"{lab.scale.long:,} frames",
        "a video model becomes a simulator when its generation is long.",
        numbers,
        f"{ROWS} dreams are played on without a limit by the scripted player; a game that ends "
        "begins anew. Each run is cut into blocks, of which brightness, fine detail and the share "
        "of changed pixels are taken. The band is that of the real game's blocks, "
        f"{BAND:g} deviations wide to either side, so as narrow as its player is steady. "
        f"{' '.join(told)}\n\n{table(HEADER, rows)}",
        lines(groups, f"{lab.scale.long:,} frames", "frames", "mean difference of neighbours"),
        source="The deck, D2",
    )


def measured(lab: Lab, game: str, world: World) -> dict[str, Any]:
    """What `drift` finds of a world, and whether actions are obeyed at the end; kept on disk."""
    card = world.card
    # Not the world's hash, which changes with what the card tells of measurements.
    made_by = (card.files.weights, card.files.starts, dataclasses.asdict(card.sampler))
    told = (FORMAT, lab.scale.long, ROWS, HELD, *made_by)
    name = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    path = lab.folder / game / "measured" / "long" / f"{name}.json"
    if not path.is_file():
        made: list[Dynamics] = []

        def make(rows: int) -> Dynamics:
            made.append(Dynamics(world, rows))
            return made[-1]

        found = drift(make, card, lab.scale.long, ROWS)
        write_json(path, {**found, "obeyed": obeys(made[0])})
    return dict(json.loads(path.read_text()))


def inside(dream: Sequence[float], real: Sequence[float]) -> float:
    """Share of the dream's blocks that lie in the real game's band."""
    middle, width = np.mean(real), BAND * np.std(real)
    return float((np.abs(np.array(dream) - middle) <= width).mean())


def obeys(dynamics: Dynamics) -> float:
    """Share of rows and pairs of actions that lead to different frames from where the rows are.

    Where the game says what its actions do, the frames must differ as they should.
    """
    rows = np.arange(dynamics.num_rows)
    state = dynamics.get_state(rows)
    frames = []
    for action in range(dynamics.world.card.actions.n):
        dynamics.set_state(rows, state)
        for _ in range(HELD):
            dynamics.step(np.full(len(rows), action))
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
