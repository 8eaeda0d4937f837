"""History guidance: does exaggerating what the past changes make better dreams (row D15)?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from dfgym.evaluation.legality import judge
from dfgym.evaluation.rollout import Dream, find_game, policies, roll
from dfgym.planning.guidance import Guidance, GuidedDream
from dfgym.statistics import bootstrap_interval
from dfgym.study.figures import lines
from dfgym.study.games import RECIPES, WHOLE
from dfgym.study.runner import StudyRunner
from dfgym.study.uncertainty import spoil
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics

GAMES = ("breakout",)
ROWS, QUICK_ROWS = 32, 8
WEIGHTS = (0.0, 0.5, 1.0, 2.0)
KINDS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "fractional": {"history_noise": 0.3},
    "temporal": {"history_frames": 2},
}
"""What the weaker prediction sees of the past: nothing, all of it with noise, or its end."""


def _helps(game: Numbers, kind: str) -> bool | None:
    if kind not in game["illegal"]:
        return None
    none, *others = game["illegal"][kind]
    return any(other["interval"][1] < none["interval"][0] for other in others)


CONDITIONS = tuple(
    Condition(
        f"some {kind} history guidance makes fewer illegal transitions than none",
        partial(_helps, kind=kind),
    )
    for kind in KINDS
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream with several weights of history guidance, and judge every transition."""
    numbers: dict[str, Any] = {}
    groups, rows, sentences = {}, [], []
    steps = max(4, runner.scale.horizon // 8)
    count = ROWS if runner.scale == WHOLE else QUICK_ROWS
    for game in games:
        world = spoil(shelf.load(RECIPES[game]))
        plain = count_illegal(world, None, count, steps)
        illegal = {
            kind: [
                plain,
                *(
                    count_illegal(world, Guidance(history=weight, **past), count, steps)
                    for weight in WEIGHTS[1:]
                ),
            ]
            for kind, past in KINDS.items()
        }
        numbers[game] = {"illegal": illegal}
        groups[game] = (WEIGHTS, {k: [v["share"] for v in vs] for k, vs in illegal.items()})
        for kind, values in illegal.items():
            rows += [
                [
                    *(game, kind, f"{weight:g}", f"{1000 * value['share']:.3g}"),
                    " to ".join(f"{1000 * end:.3g}" for end in value["interval"]),
                ]
                for weight, value in zip(WEIGHTS, values, strict=True)
            ]
            shares = ", ".join(f"{1000 * value['share']:.3g}" for value in values)
            sentences.append(f"{game}, {kind}: {shares} illegal in 1,000")
    weights = ", ".join(f"{weight:g}" for weight in WEIGHTS)
    header = ("game", "kind", "weight", "illegal in 1,000", "95 % interval")
    return Finding(
        "History guidance",
        "guidance by history makes better videos (Song et al. 2025).",
        "; ".join(sentences) + f" (weights {weights}).",
        numbers,
        f"{count} dreams of {steps} frames of the shipped world with noise in its weights, which "
        "leaves something to mend (see Causal uncertainty), played by the scripted player. "
        "Vanilla: against the prediction of a first frame. Fractional: against one that sees the "
        f"past with {KINDS['fractional']['history_noise']:g} of noise. Temporal: against one that "
        f"sees the last {KINDS['temporal']['history_frames']} frames. Intervals are over "
        "dreams.\n\n" + table(header, rows),
        lines(groups, "history guidance", "weight", "illegal transitions, share"),
    )


def count_illegal(
    world: World, guidance: Guidance | None, count: int, steps: int
) -> dict[str, Any]:
    """Let the scripted player play dreams; the share of illegal transitions, over dreams."""
    rows: Any = GuidedDream(world, count, guidance) if guidance else Dynamics(world, count)
    dream = Dream(rows)
    episodes = roll(dream, policies(world.card, count, epsilon=0.2), count * steps, steps)
    game = find_game(world.card)
    assert game is not None
    sums = np.zeros((count, 2))
    for episode in episodes:
        legal = judge(game, episode).legal
        sums[episode.row] += (~legal).sum(), legal.size
    share = sums[:, 0].sum() / sums[:, 1].sum()
    interval = bootstrap_interval(sums, lambda s: s[..., 0].sum(-1) / s[..., 1].sum(-1))
    return {"share": float(share), "interval": interval, "transitions": int(sums[:, 1].sum())}
