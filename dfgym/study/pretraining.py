"""Pretraining on images: only time is new in video, so learn pictures first (row D9)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dfgym.study.figures import over_horizon
from dfgym.study.objectives import describe
from dfgym.study.runner import OURS, StudyRunner, model_recipe
from dfgym.study.verdict import Condition, Numbers, more_errors
from dfgym.study.write import Finding, compare, summarize_all

GAMES = ("breakout",)
NAMES = {"images first": OURS, "video only": "video only", "mixture": "mixture"}


def _images_first_beat(numbers: Numbers, rival: str) -> bool:
    return more_errors(numbers[rival], numbers["images first"])


CONDITIONS = tuple(
    Condition(
        f"images first make fewer errors than {rival}",
        partial(_images_first_beat, rival=rival),
    )
    for rival in ("video only", "mixture")
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Compare an image stage, none, and a mixture, at as many steps of equal size."""
    curves = {
        game: {name: runner.curve(game, model) for name, model in NAMES.items()} for game in games
    }
    configs = {game: runner.config(game) for game in games}
    stages = ", ".join(
        f"{config.image_steps} of {config.image_steps + config.steps} steps in {game}"
        for game, config in configs.items()
    )
    comparisons = [
        f"{game}: {name}, {compare(named[name], named['images first'])}"
        for game, named in curves.items()
        for name in ("video only", "mixture")
    ]
    return Finding(
        "Pictures first",
        "only time is new in video: pre-train on images, then train on video.",
        "; ".join(comparisons) + " (against images first).",
        summarize_all(curves),
        f"The image stage is {stages}; every step sees as many frames. The mixture has no stage, "
        f"but {picture_share(runner, games[0]):.0%} of its sequences are single pictures. "
        + describe(curves),
        over_horizon(curves, "pictures first"),
    )


def picture_share(runner: StudyRunner, game: str) -> float:
    """Return the share of a mixed batch's sequences that are pictures; whole sequences are."""
    batch = runner.config(game, "mixture").batch
    return round(model_recipe("mixture").method.image_share * batch) / batch
