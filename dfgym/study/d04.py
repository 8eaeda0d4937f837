"""D4: teacher forcing, a true history and one noisy frame."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.findings import Finding, about, over_horizon
from dfgym.study.lab import Lab
from dfgym.study.laws import OURS, TEACHER, compare, curves, verdict
from dfgym.study.survival import survival

GAMES = ("breakout", "cartpole")
LAWS = (TEACHER, OURS)
NOISE = 20.0  # grey levels


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """Dream with a model that never saw a noisy past."""
    found = curves(lab, games, LAWS)
    numbers = {game: {name: about(c) for name, c in named.items()} for game, named in found.items()}
    if "cartpole" in games:
        survived = {law: survival(lab.model("cartpole", law).world, NOISE) for law in LAWS}
        for law, shares in survived.items():
            numbers["cartpole"][law]["survives"] = {"noise": NOISE, "shares": shares.tolist()}
        why = _why({law: float(shares[0]) for law, shares in survived.items()})
    else:
        why = ""
    return Finding(
        "D4",
        "teacher forcing",
        "next-frame prediction from a true history has a flexible horizon and is unstable on "
        "continuous data.",
        numbers,
        "Both are stepped a frame at a time with a clean context, and a frame is rounded to the "
        f"game's colours or grey levels before it is seen again. {compare(found)} "
        f"{verdict(found, TEACHER)}{why}",
        over_horizon(found, "teacher forcing"),
    )


def _why(survived: dict[str, float]) -> str:
    """Whether errors of the picture can add up in cartpole, in words."""
    shares = ", ".join(f"{law} {share:.1%}" for law, share in survived.items())
    if max(survived.values()) < 0.5:
        so = (
            "Most of an error is gone after one frame, with either law, so that errors of the "
            "picture do not add up here."
        )
    else:
        so = "So errors of the picture can add up here."
    return (
        f" Of an error of {NOISE:.0f} grey levels in every pixel of cartpole's past the next frame "
        f"has: {shares}. {so}"
    )
