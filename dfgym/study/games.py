"""The games of the study: how each is learned there, and how a dream of it is judged.

Legend: t frames of an episode.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dfgym import games
from dfgym.evaluation import legality
from dfgym.evaluation.rollout import Episode
from dfgym.train.recipe import Recipe, find_recipe, load_recipe

GameName = Literal["breakout", "cartpole", "rooms"]
RECIPES = {
    "breakout": "minatar-breakout-v0",
    "cartpole": "cartpole-pixels-v0",
    "rooms": "minigrid-fourrooms-v0",
}
ERRORS = {
    "breakout": "illegal transitions, share",
    "cartpole": "picture error, grey levels (rms)",
}
DENSE, SPARSE = 16, 9  # CartPole's frames are judged up to the first, then every so many


@dataclass(frozen=True)
class Scale:
    """How large the study is: the whole one, or a quick look that shows that everything runs.

    Attributes:
        frames: recorded of each game.
        settings: what differs in a training from the game's recipe.
        rows: dreams side by side for each seed.
        horizon: frames that each is dreamed.
        long: frames of the longest dream.
        seeds: evaluation seeds.
    """

    frames: dict[str, int]
    settings: dict[str, dict[str, Any]]
    rows: dict[str, int]
    horizon: int
    long: int
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def repeats(self) -> int:
        """How often a step is timed, of which the median is written."""
        return 21 if self == WHOLE else 3


WHOLE = Scale(
    frames={"breakout": 200_000, "cartpole": 60_000},
    settings={
        "breakout": {
            "steps": 900,
            "image_steps": 100,
            "length": 14,
            "batch": 12,
            "model": {"dim": 48, "depth": 4, "heads": 4, "patch": 2, "window": 6},
        },
        "cartpole": {
            "steps": 2_400,
            "image_steps": 100,
            "length": 12,
            "batch": 8,
            "model": {"dim": 64, "depth": 3, "heads": 4, "patch": 8, "window": 8},
            "sampler": {"denoising_steps": 4},
        },
    },
    rows={"breakout": 8, "cartpole": 4},
    horizon=512,
    long=10_000,
)
QUICK = Scale(
    frames={"breakout": 400, "cartpole": 200},
    settings={
        "breakout": {
            "steps": 3,
            "image_steps": 1,
            "length": 6,
            "batch": 4,
            "model": {"dim": 16, "depth": 1, "heads": 2, "patch": 5, "window": 3},
        },
        "cartpole": {
            "steps": 3,
            "image_steps": 1,
            "length": 6,
            "batch": 4,
            "model": {"dim": 16, "depth": 1, "heads": 2, "patch": 16, "window": 3},
        },
    },
    rows={"breakout": 2, "cartpole": 2},
    horizon=4,
    long=12,
    seeds=(0, 1),
)

ROOMS: dict[str, Any] = {
    "steps": 980,
    "image_steps": 20,
    "length": 48,
    "batch": 4,
    "noise_share": 0.9,
    "stop_share": 0.0,
    "clean_share": 0.9,
    "model": {"dim": 32, "depth": 2, "patch": 2, "memory": "none", "memory_size": 0},
    "sampler": {"denoising_steps": 1, "shift": 1.0},
}
"""What differs in the trainings on rooms, which only memories are tried on, from the recipe."""
ROOMS_FRAMES, ROOMS_PLAYERS = 70_000, {"scripted:0.02": 0.7, "scripted:0.1:0.5": 0.3}
QUICK_ROOMS: dict[str, Any] = ROOMS | {
    "steps": 3,
    "image_steps": 1,
    "length": 8,
    "batch": 4,
    "model": ROOMS["model"] | {"dim": 16, "heads": 2, "window": 3},
}
QUICK_FRAMES = 200


PLAIN: dict[str, Any] = {
    "strip_every": 0,
    "noise_share": 0.1,
    "clean_share": 0.0,
    "precision": "auto",
    "sampler": {"denoising_steps": 5, "shift": 2.0},
}
"""What differs in every training from its recipe, beside the scale's settings."""


def recipe(game: str, scale: Scale) -> Recipe:
    """Return a game's bundled recipe with the study's sizes, and plain diffusion forcing.

    What the worlds add for the one denoising step that they take is left out: it would favour that
    number of steps over the others.
    """
    shipped = bundled(game)
    if game == "rooms":
        quick = scale == QUICK
        recording: dict[str, Any] = {
            "frames": QUICK_FRAMES if quick else ROOMS_FRAMES,
            "policies": ROOMS_PLAYERS,
        }
        changes = {**PLAIN, **(QUICK_ROOMS if quick else ROOMS)}
    else:
        recording = {"frames": scale.frames[game]}
        changes = {**PLAIN, **scale.settings[game]}
    model = dataclasses.replace(shipped.train.model, **{"mixture": 1, **changes.pop("model")})
    sampler = dataclasses.replace(shipped.train.sampler, **changes.pop("sampler", {}))
    return dataclasses.replace(
        shipped,
        record=dataclasses.replace(shipped.record, **recording),
        train=dataclasses.replace(shipped.train, **changes, model=model, sampler=sampler),
    )


@functools.cache
def bundled(game: str) -> Recipe:
    """Return the recipe of a game's shipped world."""
    return load_recipe(find_recipe(RECIPES[game]))


@dataclass(frozen=True)
class Judged:
    """One episode's verdicts, one for each transition; NaN where none was passed.

    Attributes:
        error: see `ERRORS`.
        weight: how many transitions each verdict stands for, above 0; the same in every episode.
        detail: the picture's fine detail as a share of the real one's; NaN where not asked for.
        sticky: whether only a sticky action explains the transition; NaN for games without.
    """

    error: np.ndarray
    weight: np.ndarray
    detail: np.ndarray
    sticky: np.ndarray


def judge(game: str, episode: Episode) -> Judged:
    """Judge each transition of an episode."""
    nothing = np.full(len(episode), np.nan)
    source_game = games.find(bundled(game).record.env)
    assert source_game is not None
    if source_game.judge is not None:
        verdicts = legality.judge(source_game, episode)
        illegal, sticky = (~verdicts.legal).astype(float), verdicts.sticky.astype(float)
        return Judged(illegal, np.ones(len(episode)), nothing, sticky)
    age = np.arange(1, len(episode) + 1)
    selected = np.flatnonzero((age <= DENSE) | (age % SPARSE == 0))
    error, detail = nothing.copy(), nothing.copy()
    assert source_game.compare is not None
    drawings = source_game.compare(episode.frames[1:][selected])
    error[selected], detail[selected] = drawings.error, drawings.sharpness
    return Judged(error, np.where(age <= DENSE, 1.0, SPARSE), detail, nothing)
