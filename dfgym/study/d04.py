"""D4: teacher forcing, a true history and one noisy frame."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.findings import Finding, about, over_horizon
from dfgym.study.lab import Lab
from dfgym.study.laws import OURS, TEACHER, compare, curves

GAMES = ("breakout", "cartpole")


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Dream with a model that never saw a noisy past."""
    found = curves(lab, games, (TEACHER, OURS))
    worse = [game for game in games if found[game][TEACHER].mean > found[game][OURS].mean]
    verdict = {0: "does not hold in either game", len(games): "holds"}.get(
        len(worse), f"holds in {', '.join(worse)} only"
    )
    return Finding(
        "D4",
        "teacher forcing",
        "next-frame prediction from a true history has a flexible horizon and is unstable on "
        "continuous data.",
        {game: {name: about(c) for name, c in named.items()} for game, named in found.items()},
        f"Both are stepped a frame at a time with a clean context. {compare(found)} "
        f"That teacher forcing drifts more than diffusion forcing {verdict}.",
        over_horizon(found, "teacher forcing"),
    )
