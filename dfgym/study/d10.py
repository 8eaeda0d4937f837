"""D10: frames are denoised along a schedule that the purpose chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dfgym.diffusion.interactive import cost, delays
from dfgym.study import dreams
from dfgym.study.dreams import How
from dfgym.study.findings import Finding, about, over_horizon, said, table
from dfgym.study.lab import Curve, Lab
from dfgym.study.laws import OURS
from dfgym.study.reaction import react

GAMES = ("breakout",)
HEADER = (
    *("game", "schedule", "error", "ends in 1,000", "passes a frame", "frames computed a frame"),
    *("frames before one can obey", "a frame after a change in mid-block differs"),
)


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """One diffusion-forcing model along several matrices."""
    numbers: dict[str, Any] = {}
    found: dict[str, dict[str, Curve]] = {}
    rows, blocks = [], []
    for game in games:
        config = lab.config(game, OURS)
        window, steps = config.model.window, config.sampler.denoising_steps
        new = max(2, window // 2 + 1)
        blocks.append(f"{new}")
        trained = lab.model(game, OURS)
        numbers[game], found[game] = {}, {}
        for name in ("autoregressive", f"pyramid:{steps / 2:g}", f"fifo:{steps}", "full_sequence"):
            how = How(name, new=new)
            played = How() if name == "autoregressive" else how
            curve = lab.curve(game, OURS, played)
            schedule = dreams.matrix(trained, how, window)
            spent, late = cost(schedule), max(delays(schedule))
            effect = react(trained, how)
            found[game][name] = curve
            numbers[game][name] = {
                **about(curve),
                "passes_a_frame": spent.calls,
                "frames_computed_a_frame": spent.cached,
                "frames_before_one_obeys": late,
                "reaction": effect._asdict(),
            }
            costs = (f"{spent.calls:.1f}", f"{spent.cached:.1f}")
            cells = (game, name, said(curve), f"{curve.ends:.2g}", *costs)
            rows.append([*cells, str(late), f"{effect.effect:.0%}"])
    return Finding(
        "D10",
        "schedules",
        "frames are denoised along a schedule that the purpose chooses: chunk by chunk, or like a "
        "pyramid.",
        numbers,
        f"One model, blocks of {' and '.join(blocks)} new frames whose actions are planned; the "
        "autoregressive one is played as an environment plays it. So fifo's queue is filled anew "
        "for each block and never runs on, which would take one pass a frame. The network is "
        "causal: frames that are denoised together do not see later ones, and overlapping "
        f"schedules are inexact however well it is trained (tests/test_rollout_oracles.py).\n\n"
        + table(HEADER, rows),
        over_horizon(found, "schedules"),
    )
