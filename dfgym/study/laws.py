"""What rows D4, D5, D8 and D14 share: one network learned under three laws."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.dreams import How
from dfgym.study.findings import apart, doubled, said
from dfgym.study.lab import Curve, Lab, chunked

TEACHER, FULL, OURS = "teacher forcing", "full sequence", "diffusion forcing"


def half(lab: Lab, game: str) -> int:
    """Known frames of a block where half of it is known: f / 2 of f = window + 1."""
    return (lab.config(game, OURS).model.window + 1) // 2


def blocks(lab: Lab, game: str, known: int) -> How:
    """Chunked full-sequence diffusion: `known` frames, and the rest of a block at one level."""
    window = lab.config(game, OURS).model.window
    return How("full_sequence", new=window + 1 - known, known=known, causal=False)


def curve(lab: Lab, game: str, law: str) -> Curve:
    """A law's model, dreamed with in the way that belongs to it, its context clean."""
    if law == FULL:
        known = half(lab, game)
        return lab.curve(game, chunked(known), blocks(lab, game, known))
    return lab.curve(game, law)


def curves(lab: Lab, games: Sequence[str], laws: Sequence[str]) -> dict[str, dict[str, Curve]]:
    """Each game's curves."""
    return {game: {law: curve(lab, game, law) for law in laws} for game in games}


def compare(found: dict[str, dict[str, Curve]]) -> str:
    """Mean errors and doubling times in words, the least error first."""
    told = []
    for game, named in found.items():
        ranked = sorted(named.items(), key=lambda item: item[1].mean)
        parts = []
        for name, curve in ranked:
            parts.append(
                f"{name} {said(curve)} ({curve.begins:.3g} at the beginning, doubled: "
                f"{doubled(curve)}, {curve.ends:.2g} ends in 1,000 frames)"
            )
        told.append(f"In {game} the mean error over the horizon is: " + "; ".join(parts) + ".")
    return " ".join(told)


def verdict(found: dict[str, dict[str, Curve]], rival: str) -> str:
    """Whether a rival errs more than diffusion forcing, in words."""
    told = []
    for game, named in found.items():
        other, ours = named[rival], named[OURS]
        if apart(other, ours):
            more = "more" if other.mean > ours.mean else "less"
            told.append(f"in {game} {rival} errs {more} than diffusion forcing")
        else:
            told.append(f"in {game} {rival} and diffusion forcing are not told apart")
    text = "; ".join(told)
    return text[0].upper() + text[1:] + "."
