"""D8: diffusion forcing, every frame at its own level; noise is partial masking."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.dreams import How
from dfgym.study.findings import Finding, about, over_horizon, said
from dfgym.study.lab import Lab
from dfgym.study.laws import FULL, OURS, TEACHER, compare, curves

GAMES = ("breakout", "cartpole")
MASKED = How(mode="noised", noise=0.3)


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """The three laws side by side, and a past that is partly masked."""
    found = curves(lab, games, (TEACHER, FULL, OURS))
    masked = {
        game: {f"{law}, masked": lab.curve(game, law, MASKED) for law in (TEACHER, OURS)}
        for game in games
    }
    told = " ".join(
        f"In {game} with a past of {MASKED.noise:.0%} noise: "
        + ", ".join(f"{name} {said(curve)}" for name, curve in masked[game].items())
        + "."
        for game in games
    )
    both = {game: {**found[game], **masked[game]} for game in games}
    return Finding(
        "D8",
        "diffusion forcing",
        "it is teacher forcing and diffusion in one: each frame has a noise level of its own, and "
        "noise is partial masking.",
        {game: {name: about(c) for name, c in named.items()} for game, named in both.items()},
        "The laws (`dfgym train --law`): teacher forcing differs from diffusion forcing in the "
        "levels of the past alone. Full sequence also lets every frame of a block see the whole "
        f"block, learns its unknown frames only, and is dreamed block by block. {compare(found)} A "
        f"past that is partly masked, by noise that the model is told of: {told}",
        over_horizon(both, "three laws"),
    )
