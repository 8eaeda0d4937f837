"""D5: full-sequence diffusion, a fixed number of frames at one shared level."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.findings import Finding, about, over_horizon
from dfgym.study.lab import Lab
from dfgym.study.laws import FULL, OURS, compare, curves, half, verdict

GAMES = ("breakout", "cartpole")


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Dream in blocks of a full-sequence model, half of each known."""
    found = curves(lab, games, (FULL, OURS))
    sizes = ", ".join(
        f"{lab.config(game, OURS).model.window + 1} frames in {game}, {half(lab, game)} of them "
        "known" for game in games
    )  # fmt: skip
    return Finding(
        "D5",
        "full-sequence diffusion",
        "it denoises a fixed number of frames at one shared level; it is not causal.",
        {game: {name: about(c) for name, c in named.items()} for game, named in found.items()},
        f"A longer dream is a chain of blocks ({sizes}); the player plans each block's actions "
        f"before it is made. {compare(found)} {verdict(found, FULL)}",
        over_horizon(found, "full sequence"),
    )
