"""Reward guidance: does a pull toward reward, and toward what follows, bring more (row D15)?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dfgym.evaluation.rollout import Dream, Episode, roll
from dfgym.files import write_json
from dfgym.games import RandomPolicy
from dfgym.games.minigrid import GOAL, read_view
from dfgym.planning.guidance import Guidance, GuidedDream
from dfgym.statistics import bootstrap_interval
from dfgym.study.figures import lines
from dfgym.study.games import RECIPES, WHOLE
from dfgym.study.runner import StudyRunner
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table
from dfgym.world import shelf
from dfgym.world.settings import Settings

GAMES = ("rooms",)


class Size(NamedTuple):
    """How many dreams of how many frames of how many denoising steps."""

    dreams: int
    frames: int
    denoising_steps: int


WEIGHTS, SIZE = (0.0, 6.0, 12.0), Size(48, 16, 4)
QUICK = ((0.0, 12.0), Size(2, 2, 2))
KINDS: dict[str, dict[str, int]] = {
    "on arrival": {},
    "4 futures": {"futures": 4, "horizon": 3},
}
"""Whether the reward on arrival alone counts, or that of futures too."""
NONE = 1e-9
"""A weight that moves nothing, of a dream whose rewards are the expected ones as in others."""
MEASURES = ("in_view", "two", "reward")


SHARE = 0.1
"""Less more than this share of what comes without guidance is nothing, as one dream in many is."""


def _more(game: Numbers, kind: str, measure: str) -> bool:
    none, *guided = game["dreams"][kind]
    least = SHARE * none[measure]["mean"]
    return any(g[measure]["gain"][0] > least and g["two"]["gain"][0] <= 0 for g in guided)


CONDITIONS = tuple(
    Condition(
        f"some weight of guidance {words} than none, by an interval of the difference, and no "
        "more frames with two goals, which no room has",
        partial(_more, kind=kind, measure=measure),
    )
    for words, kind, measure in (
        ("by the reward on arrival shows a goal a tenth oftener", "on arrival", "in_view"),
        ("by futures shows a goal a tenth oftener", "4 futures", "in_view"),
        ("by futures brings a tenth more reward", "4 futures", "reward"),
    )
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream with several weights, with and without futures, and count goals and rewards."""
    weights, size = (WEIGHTS, SIZE) if runner.scale == WHOLE else QUICK
    numbers: dict[str, Any] = {}
    groups, cells, sentences = {}, [], []
    for game in games:
        none = count_goals(runner, game, Guidance(reward=NONE), size)
        dreams = {
            kind: [
                summarize(none, none),
                *(
                    summarize(
                        count_goals(runner, game, Guidance(reward=w, survival=0.0, **ahead), size),
                        none,
                    )
                    for w in weights[1:]
                ),
            ]
            for kind, ahead in KINDS.items()
        }
        numbers[game] = {"dreams": dreams}
        shares = {kind: [v["in_view"]["mean"] for v in vs] for kind, vs in dreams.items()}
        groups[game] = (weights, shares)
        for kind, values in dreams.items():
            for weight, value in zip(weights, values, strict=True):
                cells.append([game, kind, f"{weight:g}", *(_cell(value[m]) for m in MEASURES)])
            sentences.append(
                f"{game}, {kind}: a goal in view in "
                + ", ".join(f"{100 * share:.3g}" for share in shares[kind])
                + " % of frames"
            )
    header = ("game", "what counts", "weight", "goal in view, %", "two goals, %", "reward, %")
    ahead = KINDS["4 futures"]
    return Finding(
        "Reward guidance",
        "a dream can be pulled toward reward by the gradient of what is expected later, averaged "
        "over futures (Monte-Carlo guidance, Chen et al. 2024).",
        "; ".join(sentences) + f" (weights {', '.join(f'{w:g}' for w in weights)}).",
        numbers,
        f"{size.dreams} dreams of {size.frames} frames of the shipped world, "
        f"{size.denoising_steps} denoising steps each, "
        "from an episode's first frame, played at random. Where the goal is that frame mostly does "
        "not show, so a dream may lay it out as it likes. "
        f"Guidance counts the reward on arrival at a frame, or that of {ahead['futures']} futures "
        f"of {ahead['horizon']} more frames too, and no survival, since a reward ends the game. "
        "The reward is the expected one, as a share of the frames. Intervals (95 %) are over "
        "dreams; the conditions ask for those of the difference, dream by dream, since a dream has "
        "the same start, noise and player whatever guides it. Few dreams come near a goal, so that "
        "all that is measured of the reward rests on one or two of them.\n\n"
        + table(header, cells),
        lines(groups, "reward guidance", "weight, nats for a reward", "frames with a goal, share"),
    )


def count_goals(runner: StudyRunner, game: str, guidance: Guidance, size: Size) -> np.ndarray:
    """Let a random player play guided dreams, once; see `count_frames`.

    A dream of the same number has the same start, noise and player whatever guides it.
    """
    name = f"{guidance.reward:g}-{guidance.futures}x{guidance.horizon}-{'x'.join(map(str, size))}"
    path = runner.folder / game / "measured" / "reward" / f"{name}.json"
    if path.is_file():
        return np.array(json.loads(path.read_text()))
    world = shelf.load(RECIPES[game])
    settings = Settings(device=runner.device, denoising_steps=size.denoising_steps)
    rows: Any = GuidedDream(world, size.dreams, guidance, settings)
    players = [RandomPolicy(world.card.actions, seed) for seed in range(size.dreams)]
    episodes = roll(Dream(rows), players, size.dreams * size.frames, size.frames)
    sums = count_frames(episodes, size.dreams)
    write_json(path, sums.tolist())
    return sums


def count_frames(episodes: Sequence[Episode], count: int) -> np.ndarray:
    """Count of `count` rows the frames with a goal in view, those with two, rewards, and frames.

    Returns:
        float64 `(count, 4)`.
    """
    sums = np.zeros((count, 4))
    for episode in episodes:
        goals = np.array([(read_view(frame) == GOAL).sum() for frame in episode.frames[1:]])
        sums[episode.row] += (
            *((goals > 0).sum(), (goals > 1).sum(), episode.rewards.sum()),
            len(episode),
        )
    return sums


def summarize(sums: np.ndarray, none: np.ndarray) -> dict[str, Any]:
    """Return means over frames with intervals over dreams, and intervals of the gain over none.

    Args:
        sums: of each dream, see `count_frames`.
        none: of the same dreams without guidance.
    """

    def mean(values: np.ndarray) -> Any:
        return values[..., 0].sum(-1) / values[..., 1].sum(-1)

    def gain(values: np.ndarray) -> Any:
        return mean(values[..., :2]) - mean(values[..., 2:])

    return {
        name: {
            "mean": float(mean(own := sums[:, [i, 3]])),
            "interval": bootstrap_interval(own, mean),
            "gain": bootstrap_interval(np.concatenate([own, none[:, [i, 3]]], 1), gain),
        }
        for i, name in enumerate(MEASURES)
    }


def _cell(value: dict[str, Any]) -> str:
    low, high = value["interval"]
    return f"{100 * value['mean']:.3g} ({100 * low:.3g} to {100 * high:.3g})"
