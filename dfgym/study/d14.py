"""D14: the table of all methods, at equal network, data and training steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dfgym.diffusion.interactive import cost
from dfgym.study import dreams
from dfgym.study.dreams import How
from dfgym.study.findings import Finding, about, bars, doubled, said, table
from dfgym.study.games import ERRORS
from dfgym.study.lab import Curve, Lab, chunked
from dfgym.study.laws import FULL, OURS, TEACHER, blocks, curve, half, verdict
from dfgym.study.methods.objectives import Method, corrupt_batch
from dfgym.train.batches import Batch
from dfgym.train.config import TrainConfig

GAMES = ("breakout", "cartpole")
HEADER = (
    *("game", "trained by", "error at the beginning", "error", "doubled", "ends in 1,000"),
    *("frames computed a frame", "of frames passed in training learned"),
)


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Error, stability and what a frame costs."""
    numbers, rows = {}, []
    found: dict[str, dict[str, Curve]] = {}
    for game in games:
        found[game] = {law: curve(lab, game, law) for law in (TEACHER, FULL, OURS)}
        numbers[game] = {law: about(c) for law, c in found[game].items()}
        window, known = lab.config(game, OURS).model.window, half(lab, game)
        for law, c in found[game].items():
            whole = law == FULL
            how, seen = (blocks(lab, game, known), known) if whole else (How(), window)
            model = chunked(known) if whole else law
            spent = cost(dreams.matrix(lab.model(game, model), how, seen))
            frames = spent.recomputed if whole else spent.cached
            learned = _learned(lab.config(game, model), lab.method(model))
            numbers[game][law] |= {"passes": spent.calls, "frames": frames, "learned": learned}
            rows.append(
                [
                    *(game, law, f"{c.begins:.3g}", said(c), doubled(c), f"{c.ends:.2g}"),
                    *(f"{frames:.1f}", f"{learned:.0%}"),
                ]
            )
    errors = {game: {law: c.mean for law, c in by.items()} for game, by in found.items()}
    return Finding(
        "D14",
        "all of them on the same data, network and compute",
        "diffusion forcing is temporally consistent, degrades less than its rivals, and is cheaper "
        "to train than next-frame prediction with a full-sequence model.",
        numbers,
        f"{verdict(found, TEACHER)} {verdict(found, FULL)} Full sequence knows half of its block "
        "here; where it makes a single frame (D6, the largest k), only one of a block is learned. "
        "Frames computed for each new one, without the commit: what is finished is kept in a "
        "cache where the model is causal, and passed again where it is not. In training every "
        "frame is passed twice, and the share is that of sequences that no episode's end cuts.\n\n"
        + table(HEADER, rows),
        bars(errors, "mean error", ERRORS),
    )


def _learned(config: TrainConfig, method: Method, sequences: int = 256) -> float:
    """Share of the frames passed in training whose picture is learned, counted."""
    zeros = torch.zeros(sequences, config.length, dtype=torch.int64)
    no = zeros.bool()
    batch = Batch(0, "videos", torch.zeros(*zeros.shape, 1, 1, 1), zeros, zeros, zeros, no, no)
    noised = corrupt_batch(batch, config, torch.Generator().manual_seed(0), method)
    levels = noised.tau[:, config.length :]
    # Nothing led to the first frame of a sequence, see `train.loss`.
    return float((levels[:, 1:] < 1).sum()) / noised.tau.numel()
