"""Action guidance: does a dream obey better where the action is exaggerated (row D15)?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dfgym.evaluation.branches import SAMPLES, Branches, grow, mass
from dfgym.evaluation.counterfactual import compare
from dfgym.files import plain, write_json
from dfgym.planning.guidance import Guidance, GuidedDream
from dfgym.statistics import bootstrap_interval
from dfgym.study.figures import lines
from dfgym.study.games import WHOLE
from dfgym.study.guidance import count_illegal
from dfgym.study.runner import StudyRunner
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table
from dfgym.train.config import TrainConfig
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.outcomes import Outcomes
from dfgym.world.settings import Settings

GAMES = ("breakout",)
MODEL, CONTROL = "half with action dropout", "half"
STICKS, ACTIONS = 0.1, 3
"""How often the game repeats an action, and how many there are."""
MEASURES = ("obeys", "sticks", "neither")


class Size(NamedTuple):
    """How many dreams of how many frames, and from how many real moments all actions are tried."""

    dreams: int
    frames: int
    moments: int


WEIGHTS, SIZE = (0.0, 0.5, 1.0, 2.0, 4.0), Size(64, 32, 64)
QUICK = ((0.0, 2.0), Size(2, 4, 4))


def _has_fewer_illegal(game: Numbers) -> bool:
    none, *guided = (dreams["illegal"]["interval"] for dreams in game["weights"])
    return any(high < none[0] for _, high in guided)


def _holds_chance(game: Numbers) -> bool:
    low, high = game["weights"][0]["sticks"]["interval"]
    return bool(low <= STICKS <= high)


CONDITIONS = (
    Condition("some weight makes fewer illegal transitions in play than none", _has_fewer_illegal),
    Condition(
        "some weight makes fewer frames than none that neither the action nor a stuck one explains "
        "(an interval of the difference, moment by moment)",
        lambda game: any(g["neither"]["gain"][1] < 0 for g in game["weights"][1:]),
    ),
    Condition(
        f"without guidance actions stick as in the game, in {STICKS:.0%}, and with every weight "
        "less often (an interval of the difference)",
        lambda game: (
            _holds_chance(game) and all(g["sticks"]["gain"][1] < 0 for g in game["weights"][1:])
        ),
    ),
)


def predict_sticking(weight: float) -> float:
    """Return how often an exact guided distribution sticks, where every action is as likely.

    Of the two frames that may come, the action alone makes one likely and the last action the
    other. Without the action the stuck one is likelier, since it may have been meant as well.
    """
    on_purpose = (1 - STICKS) / ACTIONS
    odds = STICKS / (1 - STICKS)
    odds *= (STICKS / (on_purpose + STICKS) / ((1 - STICKS) / on_purpose)) ** weight
    return odds / (1 + odds)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream with several weights: judge each transition, and try all actions at real moments."""
    weights, size = (WEIGHTS, SIZE) if runner.scale == WHOLE else QUICK
    predicted = [predict_sticking(weight) for weight in weights]
    numbers: dict[str, Any] = {}
    groups, rows, sentences = {}, [], []
    for game in games:
        measured = [try_weight(runner, game, MODEL, weight, size) for weight in weights]
        dreams = [summarize(of_weight, measured[0]) for of_weight in measured]
        control = try_weight(runner, game, CONTROL, 0.0, size)
        control = summarize(control, control)
        numbers[game] = {"weights": dreams, "control": control, "predicted": predicted}
        sticks = [d["sticks"]["mean"] for d in dreams]
        illegal = [d["illegal"]["share"] for d in dreams]
        groups[f"{game}, where chance shows"] = (
            weights,
            {
                "stuck": sticks,
                "stuck, as predicted": predicted,
                "stuck in the game": [STICKS] * len(weights),
                "neither obeys nor stuck": [d["neither"]["mean"] for d in dreams],
            },
        )
        groups[f"{game}, illegal in play"] = (
            weights,
            {"dropout": illegal, "no dropout": [control["illegal"]["share"]]},
        )
        named = [*zip(map("{:g}".format, weights), dreams, predicted, strict=True)]
        named += [("0, no dropout", control, STICKS)]
        rows += [[game, name, *_cells(d), f"{100 * p:.2g}"] for name, d, p in named]
        sentences.append(
            f"{game}: {', '.join(f'{1000 * n:.3g}' for n in illegal)} illegal in 1,000, and a "
            f"stuck action in {', '.join(f'{100 * n:.2g}' for n in sticks)} % of the frames where "
            "it would show"
        )
    shares = ("obeys, %", "sticks, %", "neither, %", "pairs apart, %", "sticks, as predicted, %")
    header = ("game", "weight", "illegal in 1,000", *shares)
    return Finding(
        "Action guidance",
        "to exaggerate what an action changes (classifier-free guidance) makes a dream obey it "
        "better, and takes the game's chance away as it does.",
        "; ".join(sentences) + f" (weights {', '.join(f'{w:g}' for w in weights)}).",
        numbers,
        _explain(runner.config(games[0], MODEL), predicted, size) + table(header, rows),
        lines(groups, "action guidance", "weight", "share of frames"),
        source="Ours",
    )


def _explain(config: TrainConfig, predicted: Sequence[float], size: Size) -> str:
    return (
        "Written before it was measured: a guided dream should stick less, since a stuck action is "
        "what the given one makes unlikely; by the formula of guidance in "
        f"{', '.join(f'{100 * p:.2g}' for p in predicted)} % of frames, if the odds that it "
        "learned were exact and a player's actions equally likely. Illegal transitions should "
        "become fewer at a small weight and more at a large one.\n\n"
        f"The world is trained with an action dropout of {config.action_dropout:g}, the other "
        f"without, for {config.steps} steps each, half of what others here are. In play: "
        f"{size.dreams} dreams of {size.frames} frames by the scripted player, a fifth of whose "
        f"actions are random; intervals (95 %) are over dreams. At {size.moments} moments of the "
        f"real game all actions are tried, {SAMPLES} draws each. Where a repeated last action "
        "would show, a frame is what the action leads to (obeys), what the last one does (sticks), "
        "or neither; intervals are over moments. Pairs apart: of the pairs of actions that lead to "
        "different frames in the game, those that do so in the dream. Each world was trained "
        "once.\n\n"
    )


def try_weight(
    runner: StudyRunner, game: str, model: str, weight: float, size: Size
) -> dict[str, Any]:
    """Play a world's dreams and try all actions in them, once.

    Returns:
        `illegal` (see `count_illegal`), `moments` (see `split`), and `apart` (see `compare`).
    """
    world = runner.model(game, model).world
    name = f"{world.hash[:12]}-{weight:g}-{'x'.join(map(str, size))}"
    path = runner.folder / game / "measured" / "action" / f"{name}.json"
    if path.is_file():
        return dict(json.loads(path.read_text()))
    guidance = Guidance(action=weight) if weight else None
    settings = Settings(device=runner.device)

    def make(rows: int) -> Any:
        return (
            Redrawn(world, rows, guidance, settings)
            if guidance
            else Dynamics(world, rows, settings)
        )

    branches = grow(make, world.card, size.moments)
    measured = {
        "illegal": count_illegal(world, guidance, size.dreams, size.frames),
        "moments": split(branches).tolist(),
        "apart": compare(branches)["dream"]["apart"],
    }
    write_json(path, plain(measured))
    return measured


class Redrawn:
    """Rows of a guided dream whose next frames are drawn several times, as of a `Dynamics`."""

    exact = False

    def __init__(self, world: World, num_rows: int, guidance: Guidance, settings: Settings) -> None:
        self.world, self.num_rows = world, num_rows
        self.dream = GuidedDream(world, num_rows * SAMPLES, guidance, settings)

    def reset(
        self,
        rows: np.ndarray,
        seeds: np.ndarray,
        contexts: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Begin in all rows, see `Dynamics.reset`."""
        self._all = np.arange(len(rows) * SAMPLES)
        spread = np.random.default_rng(seeds).integers(2**63, size=len(self._all))
        self.dream.reset(self._all, spread, [c for c in contexts for _ in range(SAMPLES)])
        self._state = self.dream.dynamics.get_state(self._all)

    def outcomes(self, actions: np.ndarray, samples: int = SAMPLES) -> Outcomes:
        """Draw what a step of every row may lead to, see `Dynamics.outcomes`; no row moves."""
        self.dream.dynamics.set_state(self._all, self._state)
        step = self.dream.step(actions.repeat(samples, 0))
        frames, rewards, ends = (
            values.reshape(self.num_rows, samples, *values.shape[1:])
            for values in (step.frames, step.rewards, step.termination_probability)
        )
        return Outcomes(frames, np.full(rewards.shape, 1 / samples), rewards, ends, False, {})


def split(branches: Branches) -> np.ndarray:
    """Sum up for each moment what the dream makes of an action where a stuck one would show.

    Returns:
        float64 `(n, 4)`: the probabilities of what the action leads to, of what the last one does,
        and of neither; and how many actions they are of.
    """
    sums = np.zeros((len(branches.real), 4))
    for total, dreams, reals in zip(sums, branches.dream, branches.real, strict=True):
        for dream, real in zip(dreams, reals, strict=True):
            if len(real.frames) == 2 and np.isclose(real.probabilities.min(), STICKS):
                obeys = int(real.probabilities.argmax())
                masses = mass(dream, real.frames, branches.tolerance)
                total += (*masses[[obeys, 1 - obeys, 2]], 1)
    return sums


def summarize(measured: dict[str, Any], none: dict[str, Any]) -> dict[str, Any]:
    """Return what is written of a weight: means, intervals over moments, gains over weight 0.

    Args:
        measured: see `try_weight`.
        none: of the same moments, without guidance.
    """

    def mean(values: np.ndarray) -> Any:
        return values[..., 0].sum(-1) / np.maximum(values[..., 1].sum(-1), 1)

    def gain(values: np.ndarray) -> Any:
        return mean(values[..., :2]) - mean(values[..., 2:])

    sums, before = np.array(measured["moments"]), np.array(none["moments"])
    return {key: measured[key] for key in ("illegal", "apart")} | {
        name: {
            "mean": float(mean(own := sums[:, [i, 3]])),
            "interval": bootstrap_interval(own, mean),
            "gain": bootstrap_interval(np.concatenate([own, before[:, [i, 3]]], 1), gain),
        }
        for i, name in enumerate(MEASURES)
    }


def _cells(of_weight: dict[str, Any]) -> list[str]:
    low, high = of_weight["illegal"]["interval"]
    cells = [f"{1000 * of_weight['illegal']['share']:.3g} ({1000 * low:.3g} to {1000 * high:.3g})"]
    for name in MEASURES:
        low, high = of_weight[name]["interval"]
        value = of_weight[name]["mean"]
        cells.append(f"{100 * value:.3g} ({100 * low:.3g} to {100 * high:.3g})")
    apart = of_weight["apart"]
    return [*cells, "-" if apart is None else f"{100 * apart:.3g}"]
