"""D9: the added complexity is in time only, so learn pictures first."""

from __future__ import annotations

from collections.abc import Sequence

from dfgym.study.findings import Finding, about, over_horizon
from dfgym.study.lab import Lab
from dfgym.study.laws import OURS, compare

GAMES = ("breakout",)


def run(lab: Lab, games: Sequence[str]) -> Finding:
    """An image stage, none, and a mixture, at as many steps of equal size."""
    found = {
        game: {
            name: lab.curve(game, model)
            for name, model in (
                ("images first", OURS),
                ("video only", "video only"),
                ("mixture", "mixture"),
            )
        }
        for game in games
    }
    steps = {game: lab.config(game, OURS) for game in games}
    told = ", ".join(
        f"{config.image_steps} of {config.image_steps + config.steps} steps in {game}"
        for game, config in steps.items()
    )
    return Finding(
        "D9",
        "pictures first",
        "only time is new in video: pre-train on images, then train on video.",
        {game: {name: about(c) for name, c in named.items()} for game, named in found.items()},
        f"The image stage is {told}; every step sees as many frames. The mixture has no stage, but "
        f"{_pictures(lab, games[0]):.0%} of its sequences are single pictures. " + compare(found),
        over_horizon(found, "pictures first"),
    )


def _pictures(lab: Lab, game: str) -> float:
    """Share of a batch's sequences that are pictures; whole sequences are."""
    batch = lab.config(game, "mixture").batch
    return round(lab.method("mixture").image_share * batch) / batch
