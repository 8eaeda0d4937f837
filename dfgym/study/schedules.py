"""Schedules: which frames are denoised together, and what that costs and delays (D7, D10)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from dfgym.study import blocks
from dfgym.study.blocks import RolloutSpec
from dfgym.study.curve import Curve
from dfgym.study.figures import bars, over_horizon
from dfgym.study.methods.delays import action_delays, count_cost
from dfgym.study.objectives import half_window
from dfgym.study.reaction import react
from dfgym.study.runner import OURS, StudyRunner, chunked
from dfgym.study.verdict import Condition, Numbers, more_errors
from dfgym.study.write import Finding, compare, format_error, summarize, table

REACTION_GAMES = ("breakout", "cartpole")
MATRIX_GAMES = ("breakout",)
HEADER = (
    *("game", "schedule", "error", "ends in 1,000", "passes a frame", "frames computed a frame"),
    *("frames before one can obey", "a frame after a change in mid-block differs"),
)
REACTION_CONDITIONS = (
    Condition(
        "no block of key frames first obeys an action that changes in its middle",
        lambda game: game["hierarchical"]["effect"] == 0,
    ),
    Condition(
        "every block that is made frame by frame obeys it",
        lambda game: game["ours"]["effect"] == 1,
    ),
)


def _is_cheaper_and_as_good(numbers: Numbers, schedule: str) -> bool:
    frame_by_frame = numbers["autoregressive"]
    other = next(n for name, n in numbers.items() if name.startswith(schedule))
    fewer = other["passes_a_frame"] < frame_by_frame["passes_a_frame"]
    return bool(fewer and not more_errors(other, frame_by_frame))


MATRIX_CONDITIONS = tuple(
    Condition(
        f"{words} takes fewer passes than frame by frame, without more errors",
        partial(_is_cheaper_and_as_good, schedule=schedule),
    )
    for words, schedule in (("a pyramid", "pyramid"), ("chunk by chunk", "full_sequence"))
)


def measure_reaction(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Change an action in mid-block and look for the effect."""
    numbers, shares = {}, {}
    for game in games:
        num_context = half_window(runner, game)
        window = runner.config(game).model.window
        rest = window + 1 - num_context
        new = 1 << (rest.bit_length() - 1)  # a power of two, for the key frames
        full, ours = runner.model(game, chunked(num_context)), runner.model(game, OURS)
        reactions = {
            "hierarchical": react(
                full, RolloutSpec(f"hierarchical:{new}", new, num_context, False)
            ),
            "full sequence": react(full, RolloutSpec("full_sequence", new, num_context, False)),
            "ours": react(ours, RolloutSpec("autoregressive", new, window)),
        }
        numbers[game] = {name: reaction._asdict() for name, reaction in reactions.items()}
        shares[game] = {name: reaction.effect for name, reaction in reactions.items()}
    sentences = [
        f"{game}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares[game].items())
        for game in games
    ]
    return Finding(
        "An action changed in mid-block",
        "key frames first, then interpolation, cannot be interactive: the end is decided before "
        "the action.",
        f"share of blocks that obey: {'; '.join(sentences)}.",
        numbers,
        "The share of 32 blocks in which any frame from the changed action on differs from the "
        f"block that was planned, with the same noise. In {'. In '.join(sentences)}. Where it is "
        "0 %, that follows from the matrix: when the player has seen the frame before the change, "
        "the whole block is finished. An action at a wall changes nothing in the real game either.",
        bars(shares, "effect of a change in mid-block", "share of blocks that differ"),
    )


def measure_matrices(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream with one diffusion-forcing model along several scheduling matrices."""
    numbers: dict[str, Any] = {}
    curves: dict[str, dict[str, Curve]] = {}
    rows, sizes, comparisons = [], [], []
    for game in games:
        config = runner.config(game)
        window, steps = config.model.window, config.sampler.denoising_steps
        new = max(2, window // 2 + 1)
        sizes.append(f"{new}")
        model = runner.model(game, OURS)
        numbers[game], curves[game] = {}, {}
        for name in ("autoregressive", f"pyramid:{steps / 2:g}", f"fifo:{steps}", "full_sequence"):
            spec = RolloutSpec(name, new=new)
            played = RolloutSpec() if name == "autoregressive" else spec
            curve = runner.curve(game, OURS, played)
            schedule = blocks.matrix(model, spec, window)
            cost, delay = count_cost(schedule), max(action_delays(schedule))
            reaction = react(model, spec)
            curves[game][name] = curve
            numbers[game][name] = {
                **summarize(curve),
                "passes_a_frame": cost.calls,
                "frames_computed_a_frame": cost.cached,
                "frames_before_one_obeys": delay,
                "reaction": reaction._asdict(),
            }
            rows.append(
                [
                    *(game, name, format_error(curve), f"{curve.ends:.2g}"),
                    *(f"{cost.calls:.1f}", f"{cost.cached:.1f}"),
                    *(str(delay), f"{reaction.effect:.0%}"),
                ]
            )
        first, *others = curves[game].items()
        comparisons += [f"{game}: {name}, {compare(curve, first[1])}" for name, curve in others]
    return Finding(
        "Schedules",
        "frames are denoised along a schedule that the purpose chooses: chunk by chunk, or like a "
        "pyramid.",
        "; ".join(comparisons) + " (against autoregressive).",
        numbers,
        f"One model, blocks of {' and '.join(sizes)} new frames whose actions are planned; the "
        "autoregressive one is played as an environment plays it. So fifo's queue is filled anew "
        "for each block and never runs on, which would take one pass a frame. The network is "
        "causal: frames that are denoised together do not see later ones, and overlapping "
        "schedules are inexact however well it is trained (tests/diffusion/test_oracles.py).\n\n"
        + table(HEADER, rows),
        over_horizon(curves, "schedules"),
    )
