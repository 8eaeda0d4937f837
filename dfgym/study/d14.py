"""D14: the table of all methods, at equal network, data and training steps."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dfgym.diffusion.interactive import cost
from dfgym.study import dreams
from dfgym.study.dreams import How
from dfgym.study.findings import Finding, about, bars, doubled
from dfgym.study.games import ERRORS
from dfgym.study.lab import Lab, chunked
from dfgym.study.laws import FULL, OURS, TEACHER, blocks, curve, half
from dfgym.train.observe import LOG_FILE

GAMES = ("breakout", "cartpole")


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Error, stability and what a frame costs."""
    numbers, errors, rows = {}, {}, []
    for game in games:
        found = {law: curve(lab, game, law) for law in (TEACHER, FULL, OURS)}
        errors[game] = {law: c.mean for law, c in found.items()}
        numbers[game] = {law: about(c) for law, c in found.items()}
        for law, c in found.items():
            known = half(lab, game)
            how = blocks(lab, game, known) if law == FULL else How()
            model = chunked(known) if law == FULL else law
            world = lab.world(game, model)
            spent = cost(dreams.matrix(world, how, known if law == FULL else _window(lab, game)))
            frames = spent.recomputed if law == FULL else spent.cached
            loss = _loss(lab, game, model)
            numbers[game][law] |= {"passes": spent.calls, "frames": frames, "loss": loss}
            low, high = c.interval
            rows.append(
                f"| {game} | {law} | {c.error[0]:.3g} | {c.mean:.3g} [{low:.3g}, {high:.3g}] | "
                f"{doubled(c)} | {frames:.1f} |"
            )
    best = [min(errors[game], key=lambda law: errors[game][law]) for game in games]
    pairs = zip(best, games, strict=True)
    verdict = " and ".join(f"{law} errs least in {game}" for law, game in pairs)
    table = "\n".join(
        [
            "| game | trained by | first frame | whole horizon | doubled | frames computed a "
            "frame |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )
    return Finding(
        "D14",
        "all of them on the same data, network and compute",
        "diffusion forcing is temporally consistent, degrades less than its rivals, and costs less "
        "than next-frame prediction with a full-sequence model.",
        numbers,
        f"Over the whole horizon {verdict}. Frames computed for each new one, without the commit: "
        "what is finished is kept in a cache where the model is causal, and passed again where it "
        f"is not.\n\n{table}",
        bars(errors, "mean error", ERRORS),
    )


def _window(lab: Lab, game: str) -> int:
    return lab.config(game, OURS).model.window


def _loss(lab: Lab, game: str, model: str) -> float:
    """Mean training loss of the picture over the last tenth."""
    lines = (lab.config(game, model).out / LOG_FILE).read_text().splitlines()
    values = [json.loads(line)["frame"] for line in lines[-max(1, len(lines) // 10) :]]
    return sum(values) / len(values)
