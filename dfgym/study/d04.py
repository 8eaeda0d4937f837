"""D4: teacher forcing, a true history and one noisy frame."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.findings import Finding, about, over_horizon
from dfgym.study.lab import Lab
from dfgym.study.laws import OURS, TEACHER, compare, curves, verdict

GAMES = ("breakout", "cartpole")


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Dream with a model that never saw a noisy past."""
    found = curves(lab, games, (TEACHER, OURS))
    return Finding(
        "D4",
        "teacher forcing",
        "next-frame prediction from a true history has a flexible horizon and is unstable on "
        "continuous data.",
        {game: {name: about(c) for name, c in named.items()} for game, named in found.items()},
        "Both are stepped a frame at a time with a clean context, and a frame is rounded to the "
        f"game's colours or grey levels before it is seen again. {compare(found)} "
        f"{verdict(found, TEACHER)}",
        over_horizon(found, "teacher forcing"),
    )
