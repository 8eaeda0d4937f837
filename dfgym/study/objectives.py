"""Objectives: one network trained by teacher forcing, on full sequences and by diffusion forcing.

Rows D4, D5, D8 and D14.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dfgym.diffusion.draws import Draws
from dfgym.study import blocks
from dfgym.study.blocks import RolloutSpec
from dfgym.study.curve import Curve
from dfgym.study.figures import bars, over_horizon
from dfgym.study.games import ERRORS
from dfgym.study.methods.delays import count_cost
from dfgym.study.methods.objectives import Method, corrupt_batch
from dfgym.study.runner import OURS, TEACHER, StudyRunner, chunked, model_recipe
from dfgym.study.survival import survival
from dfgym.study.verdict import Condition, more_errors
from dfgym.study.write import (
    Finding,
    capitalize,
    compare,
    format_doubling,
    format_error,
    summarize_all,
    table,
)
from dfgym.train.batches import Batch
from dfgym.train.config import TrainConfig

FULL = "full sequence"
GAMES = ("breakout", "cartpole")
NOISE = 20.0
"""The error, in grey levels, whose survival is measured."""
MASKED = RolloutSpec(mode="noised", noise=0.3)
HEADER = (
    *("game", "trained by", "error at the beginning", "error", "doubled", "ends in 1,000"),
    *("frames computed a frame", "share of the frames passed in training that is learned"),
)
TEACHER_FORCING_CONDITIONS = (
    Condition(
        "teacher forcing dreams to the end of a horizon that is longer than what it trained on",
        lambda game: game[TEACHER]["last"] is not None,
    ),
    Condition(
        "teacher forcing makes more errors than diffusion forcing",
        lambda game: more_errors(game[TEACHER], game[OURS]),
    ),
)
FULL_SEQUENCE_CONDITIONS = (
    Condition(
        "in a dream longer than its fixed number of frames, full-sequence diffusion makes more "
        "errors than diffusion forcing",
        lambda game: more_errors(game[FULL], game[OURS]),
    ),
)
DIFFUSION_FORCING_CONDITIONS = (
    Condition(
        "with a past that noise masks partly, it makes fewer errors than teacher forcing",
        lambda game: more_errors(game[f"{TEACHER}, masked"], game[f"{OURS}, masked"]),
    ),
    Condition(
        "with a clean past, it makes no more errors than teacher forcing",
        lambda game: not more_errors(game[OURS], game[TEACHER]),
    ),
)
COMPARISON_CONDITIONS = (
    Condition(
        "the error of diffusion forcing does not double within the horizon",
        lambda game: game[OURS]["doubles_after"] is None,
    ),
    Condition(
        "it makes fewer errors than teacher forcing",
        lambda game: more_errors(game[TEACHER], game[OURS]),
    ),
    Condition(
        "it makes fewer errors than full-sequence diffusion",
        lambda game: more_errors(game[FULL], game[OURS]),
    ),
    Condition(
        "of the frames passed in training, it learns a larger share than full-sequence diffusion",
        lambda game: game[OURS]["learned"] > game[FULL]["learned"],
    ),
)
Curves = dict[str, dict[str, Curve]]


def half_window(runner: StudyRunner, game: str) -> int:
    """Return the known frames of a block of which half is known: f / 2 of f = window + 1."""
    return (runner.config(game).model.window + 1) // 2


def full_sequence_spec(runner: StudyRunner, game: str, num_context: int) -> RolloutSpec:
    """Return chunked full-sequence diffusion: `known` frames, and the others at one level."""
    new = runner.config(game).model.window + 1 - num_context
    return RolloutSpec("full_sequence", new=new, num_context=num_context, causal=False)


def curves_of(runner: StudyRunner, games: Sequence[str], objectives: Sequence[str]) -> Curves:
    """Return the curves of each game, of models that are dreamt with as they were trained."""

    def curve(game: str, objective: str) -> Curve:
        if objective == FULL:
            num_context = half_window(runner, game)
            return runner.curve(
                game, chunked(num_context), full_sequence_spec(runner, game, num_context)
            )
        return runner.curve(game, objective)

    return {game: {name: curve(game, name) for name in objectives} for game in games}


def describe(curves: Curves) -> str:
    """Return mean errors and doubling times in words, the least error first."""
    sentences = []
    for game, named in curves.items():
        ranked = sorted(named.items(), key=lambda item: item[1].mean)
        parts = [
            f"{name} {format_error(curve)} ({curve.begins:.3g} at the beginning, the error "
            f"doubles: {format_doubling(curve)}, {curve.ends:.2g} ends in 1,000 frames)"
            for name, curve in ranked
        ]
        sentences.append(f"In {game} the mean error over the horizon is: {'; '.join(parts)}.")
    return " ".join(sentences)


def compare_with_ours(curves: Curves, rival: str) -> str:
    """Return whether a rival errs more than diffusion forcing, in words."""
    results = {game: compare(named[rival], named[OURS]) for game, named in curves.items()}
    return "; ".join(f"{game}: {rival}, {result}" for game, result in results.items())


def measure_teacher_forcing(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream with a model that never saw a noisy past in training."""
    curves = curves_of(runner, games, (TEACHER, OURS))
    numbers, explanation = summarize_all(curves), ""
    if "cartpole" in games:
        survived = {}
        for objective in (TEACHER, OURS):
            shares = survival(runner.model("cartpole", objective).world, NOISE)
            survived[objective] = float(shares[0])
            record = {"noise": NOISE, "shares": shares.tolist()}
            numbers["cartpole"][objective]["survives"] = record
        explanation = _explain_survival(survived)
    return Finding(
        "Teacher forcing",
        "next-frame prediction from a true history has a flexible horizon and is unstable on "
        "continuous data.",
        f"{compare_with_ours(curves, TEACHER)}.",
        numbers,
        "Both are stepped a frame at a time with a clean context, and a frame is rounded to the "
        f"game's colours or grey levels before it is seen again. {describe(curves)} "
        f"{capitalize(compare_with_ours(curves, TEACHER))}.{explanation}",
        over_horizon(curves, "teacher forcing"),
    )


def _explain_survival(survived: dict[str, float]) -> str:
    """Whether errors of the picture can add up in cartpole, in words."""
    shares = ", ".join(f"{objective} {share:.1%}" for objective, share in survived.items())
    conclusion = "So errors of the picture can add up here."
    if max(survived.values()) < 0.5:
        conclusion = (
            "Most of an error is gone after one frame, with either objective, so errors of the "
            "picture do not add up here."
        )
    return (
        f" Of an error of {NOISE:.0f} grey levels in every pixel of cartpole's past, the next "
        f"frame keeps: {shares}. {conclusion}"
    )


def measure_full_sequence(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream in blocks of a full-sequence model, half of each known."""
    curves = curves_of(runner, games, (FULL, OURS))
    sizes = ", ".join(
        f"{runner.config(game).model.window + 1} frames in {game}, {half_window(runner, game)} of "
        "them known" for game in games
    )  # fmt: skip
    return Finding(
        "Full-sequence diffusion",
        "it denoises a fixed number of frames at one shared level; it is not causal.",
        f"{compare_with_ours(curves, FULL)}.",
        summarize_all(curves),
        f"A longer dream is a chain of blocks ({sizes}); the player plans each block's actions "
        f"before it is made. {describe(curves)} {capitalize(compare_with_ours(curves, FULL))}.",
        over_horizon(curves, "full sequence"),
    )


def measure_diffusion_forcing(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Compare the three objectives, and a past that is partly masked."""
    curves = curves_of(runner, games, (TEACHER, FULL, OURS))
    masked = {
        game: {f"{name}, masked": runner.curve(game, name, MASKED) for name in (TEACHER, OURS)}
        for game in games
    }
    sentences = " ".join(
        f"In {game} with a past of {MASKED.noise:.0%} noise: "
        + ", ".join(f"{name} {format_error(curve)}" for name, curve in masked[game].items())
        + "."
        for game in games
    )
    results = "; ".join(
        f"{game}: masked, teacher forcing, "
        + compare(named[f"{TEACHER}, masked"], named[f"{OURS}, masked"])
        for game, named in masked.items()
    )
    both = {game: {**curves[game], **masked[game]} for game in games}
    return Finding(
        "Diffusion forcing",
        "it is teacher forcing and diffusion in one: each frame has a noise level of its own, and "
        "noise is partial masking.",
        f"{results}.",
        summarize_all(both),
        "Teacher forcing differs from diffusion forcing in the levels of the past alone. Full "
        "sequence also lets every frame of a block see the whole block, learns its unknown frames "
        f"only, and is dreamt block by block. {describe(curves)} With a past that is partly "
        f"masked, by noise whose level the model is given: {sentences}",
        over_horizon(both, "three objectives"),
    )


def measure_all(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Compare error, stability and what a frame costs, at equal network, data and steps."""
    rows = []
    curves = curves_of(runner, games, (TEACHER, FULL, OURS))
    numbers = summarize_all(curves)
    for game in games:
        window, num_context = runner.config(game).model.window, half_window(runner, game)
        for objective, curve in curves[game].items():
            whole = objective == FULL
            spec, past = RolloutSpec(), window
            if whole:
                spec, past = full_sequence_spec(runner, game, num_context), num_context
            model = chunked(num_context) if whole else objective
            cost = count_cost(blocks.matrix(runner.model(game, model), spec, past))
            frames = cost.recomputed if whole else cost.cached
            learned_fraction = learned_share(runner.config(game, model), model_recipe(model).method)
            numbers[game][objective] |= {
                "passes": cost.calls, "frames": frames, "learned": learned_fraction,
            }  # fmt: skip
            rows.append(
                [
                    *(game, objective, f"{curve.begins:.3g}", format_error(curve)),
                    *(format_doubling(curve), f"{curve.ends:.2g}"),
                    *(f"{frames:.1f}", f"{learned_fraction:.0%}"),
                ]
            )
    errors = {game: {name: c.mean for name, c in named.items()} for game, named in curves.items()}
    results = f"{compare_with_ours(curves, TEACHER)}; {compare_with_ours(curves, FULL)}."
    return Finding(
        "All objectives at equal network, data and compute",
        "diffusion forcing is temporally consistent, degrades less than its rivals, and is cheaper "
        "to train than next-frame prediction with a full-sequence model.",
        results,
        numbers,
        f"{capitalize(results)} Full sequence knows half of its block here; where it makes a "
        "single frame (see the chunks, the largest k), only one of a block is learned. Frames "
        "computed for each new one are counted without the commit: finished frames are kept in a "
        "cache where the model is causal, and passed again where it is not. In training every "
        "frame is passed twice, and the share is that of sequences that no episode's end cuts.\n\n"
        + table(HEADER, rows),
        bars(errors, "mean error", ERRORS),
    )


def learned_share(config: TrainConfig, method: Method, sequences: int = 256) -> float:
    """Count the share of the frames passed in training whose picture is learned."""
    zeros = torch.zeros(sequences, config.length, dtype=torch.int64)
    no = zeros.bool()
    batch = Batch(0, "videos", torch.zeros(*zeros.shape, 1, 1, 1), zeros, zeros, zeros, no, no)
    noised = corrupt_batch(batch, config, Draws([0]), method)
    levels = noised.tau[:, config.length :]
    # No action led to the first frame of a sequence, see `train.loss`.
    return float((levels[:, 1:] < 1).sum()) / noised.tau.numel()
