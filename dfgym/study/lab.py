"""Where the study works: it records, trains and measures what is missing, and keeps all of it.

Everything is left on disk under one folder, data, then models, then measurements, each told by what
made it; so a study that was stopped goes on, and rows that ask for the same share it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dfgym.checks import to_plain
from dfgym.data.record import record
from dfgym.data.store import EpisodeStore
from dfgym.errors import DataError
from dfgym.files import write_json
from dfgym.study import dreams, games
from dfgym.study.dreams import How, Model
from dfgym.study.games import Scale
from dfgym.study.methods.objectives import Method
from dfgym.train.checkpoint import FILE, averaged_weights, check_data, read_checkpoint
from dfgym.train.config import TrainConfig, fixed_settings, from_table
from dfgym.train.loop import train
from dfgym.train.pack import draft_card, held_out_starts
from dfgym.train.survey import survey
from dfgym.world.bundle import World


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: a method, and what differs from the study's usual training."""

    method: Method = field(default_factory=Method)
    model: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


MODELS: dict[str, Recipe] = {
    "diffusion forcing": Recipe(),
    "teacher forcing": Recipe(Method(corruption="teacher_forcing")),
    "recurrent": Recipe(model={"kind": "recurrent", "heads": 1}),
    "video only": Recipe(settings={"image_steps": 0}),
    "mixture": Recipe(Method(image_share=0.3), settings={"image_steps": 0}),
    "v": Recipe(Method(target="v")),
    "shortcut": Recipe(Method(finest=16)),
    "outcomes": Recipe(model={"mixture": 8}),
}
"""All models but `chunked K`."""
METHOD_FILE = "method.json"
FORMAT = 4
"""Of models and measurements; raise it when the same settings come to mean something else."""
BEGINNING, LASTING = 16, 64
"""Steps whose mean error is that of a beginning, and that must err twice as much to count."""


def chunked(known: int) -> str:
    """The model of full-sequence diffusion that sees so many clean frames."""
    return f"chunked {known}"


@dataclass(frozen=True)
class Curve:
    """How good dreams are over the horizon; the means are over episodes that got so far.

    Attributes:
        error: float `(horizon,)`, mean after so many steps (index 0: one); NaN where unknown.
        detail: likewise, see `games.Judged`.
        weight: `(horizon,)`, how many transitions each of them stands for.
        rows: `(seeds * rows, 2)`: of each row all errors, weighted and summed, and the sum of
            their weights.
        sticky: share of the transitions that only a sticky action explains; NaN without any.
        ends: dreams that ended, in 1,000 frames.
    """

    error: np.ndarray
    detail: np.ndarray
    weight: np.ndarray
    rows: np.ndarray
    sticky: float
    ends: float

    @property
    def mean(self) -> float:
        """Mean error of all that was judged."""
        return float(self.rows[:, 0].sum() / max(self.rows[:, 1].sum(), 1))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of `mean`, over rows."""
        drawn = np.random.default_rng(0).integers(len(self.rows), size=(2000, len(self.rows)))
        sums = self.rows[drawn].sum(1)
        low, high = np.percentile(sums[:, 0] / np.maximum(sums[:, 1], 1), [2.5, 97.5])
        return float(low), float(high)

    def at(self, step: int, width: int = 8) -> float:
        """Mean error of the `width` steps that end with this one."""
        return self.over(self.error, max(0, step - width), step)

    @property
    def sharpness(self) -> float:
        """Mean detail over the horizon; NaN without any."""
        return self.over(self.detail, 0, len(self.detail))

    def over(self, values: np.ndarray, first: int, end: int) -> float:
        """Weighted mean of `error` or `detail` from a step to before another; NaN without any."""
        part, weight = values[first:end], self.weight[first:end]
        known = np.isfinite(part)
        return float(np.average(part[known], weights=weight[known])) if known.any() else math.nan

    @property
    def begins(self) -> float:
        """Mean error of the first `BEGINNING` steps: a single one would be a handful of frames."""
        return self.at(BEGINNING, BEGINNING)

    def doubles(self) -> int | None:
        """The first step from which on `LASTING` steps err, on average, twice what `begins` says.

        None if that never happens within the horizon, or there is no error to double.
        """
        for step in range(1, len(self.error) - LASTING + 1):
            if self.over(self.error, step, step + LASTING) > 2 * self.begins > 0:
                return step
        return None


@dataclass(frozen=True)
class Lab:
    """A folder of data, models and measurements at one scale."""

    folder: Path
    scale: Scale
    device: str = "auto"

    def method(self, model: str) -> Method:
        """Return how a model is trained, beside its configuration.

        Raises:
            KeyError: there is no such model.
        """
        match model.split():
            case ["chunked", known]:
                return Method(corruption="full_sequence", clean_frames=int(known))
            case _:
                return MODELS[model].method

    def config(self, game: str, model: str) -> TrainConfig:
        """Return the training configuration of a model."""
        base = games.recipe(game, self.scale).train
        recipe = MODELS.get(model, Recipe())
        settings = dict(recipe.settings)
        if "image_steps" in settings:  # as many steps in all
            settings["steps"] = base.steps + base.image_steps - settings["image_steps"]
        where = self.folder / game
        return dataclasses.replace(
            base,
            **settings,
            model=dataclasses.replace(base.model, **recipe.model),
            data=(where / "data",),
            out=where / f"models-{FORMAT}" / model.replace(" ", "-"),
            device=self.device,
        )

    def data(self, game: str) -> EpisodeStore:
        """The game's recordings, made if they are missing."""
        recording = games.recipe(game, self.scale).record
        return record(out=self.folder / game / "data", **recording.keywords())

    def model(self, game: str, model: str) -> Model:
        """A trained model, trained if it is missing.

        Raises:
            DataError: what is there was trained by another version, or is damaged.
        """
        config, method = self.config(game, model), self.method(model)
        self.data(game)
        if not _is_trained(config, method):
            print(f"== {game}: {model}")
            write_json(config.out / METHOD_FILE, to_plain(method))
            train(config, method.objective(), method.build)
        return _model(config, method)

    def curve(self, game: str, model: str, how: How | None = None) -> Curve:
        """Dream with a model and judge it, once."""
        how = how or How()
        trained = self.model(game, model)
        world = trained.world
        path = self.folder / game / "measured" / model.replace(" ", "-") / f"{how.key}.json"
        told = {
            "format": FORMAT,
            "model": world.hash,
            "sampler": dataclasses.asdict(world.card.sampler),
            "rows": self.scale.rows[game],
            "horizon": self.scale.horizon,
            "seeds": list(self.scale.seeds),
        }
        if path.is_file() and (found := json.loads(path.read_text()))["told"] == told:
            return _curve(found)
        found = {"told": told, **self._measure(game, trained, how, f"{model}, {how.key}")}
        write_json(path, found)
        return _curve(found)

    def _measure(self, game: str, trained: Model, how: How, name: str) -> dict[str, Any]:
        horizon, rows = self.scale.horizon, self.scale.rows[game]
        totals = np.zeros((2, 2, horizon))  # error and detail: sum, count
        by_row = np.zeros((len(self.scale.seeds), rows, 2))
        sticky, ends = [], 0
        for index, seed in enumerate(tqdm(self.scale.seeds, desc=name, unit="seed")):
            for episode in dreams.play(trained, how, rows, horizon, seed):
                judged = games.judge(game, episode)
                for part, values in enumerate((judged.error, judged.detail)):
                    weights = np.where(np.isfinite(values), judged.weight, 0)
                    errors = weights * np.nan_to_num(values)
                    totals[part, 0, : len(values)] += errors
                    totals[part, 1, : len(values)] += weights
                    if not part:
                        by_row[index, episode.row] += errors.sum(), weights.sum()
                sticky.append(judged.sticky)
                ends += int(episode.terminated.any())
        stuck = np.concatenate(sticky)
        return {
            "error": _means(totals[0]),
            "detail": _means(totals[1]),
            "weight": totals[0, 1].tolist(),
            "rows": by_row.reshape(-1, 2).tolist(),
            "sticky": None if np.isnan(stuck).all() else float(np.nanmean(stuck)),
            "ends": 1000 * ends / (len(self.scale.seeds) * rows * horizon),
        }


def _is_trained(config: TrainConfig, method: Method) -> bool:
    """Whether a model is there, whole.

    Raises:
        DataError: it was trained by another version of the study, or on other data, so it is not
            the one asked for.
    """
    if not (config.out / FILE).is_file():
        return False
    _, step, origin = read_checkpoint(config.out)
    try:
        saved = json.loads((config.out / METHOD_FILE).read_text())
        same = fixed_settings(from_table(origin.settings, config.out)) == fixed_settings(config)
    except (OSError, ValueError):
        same = False
    if not same or saved != to_plain(method):
        raise DataError(
            f"{config.out} holds a study model of another version (its settings differ): remove "
            "that folder to train it anew, or choose another --runs"
        )
    check_data(config.out, origin, [EpisodeStore.open(path) for path in config.data])
    return step == config.image_steps + config.steps


@functools.lru_cache(maxsize=4)
def _model(config: TrainConfig, method: Method) -> Model:
    """What `pack` writes, in memory: not every model of the study can be an environment."""
    tensors, _, _ = read_checkpoint(config.out)
    stores = [EpisodeStore.open(path) for path in config.data]
    card = draft_card(config, survey(stores, config.held_out), stores)
    weights = averaged_weights(tensors)
    parts = (name.encode() + weights[name].numpy().tobytes() for name in sorted(weights))
    digest = hashlib.sha256(b"".join(parts))
    starts = held_out_starts(stores, config.held_out)
    return Model(World(card, digest.hexdigest(), config.out, weights, starts), method)


def _means(totals: np.ndarray) -> list[float | None]:
    return [float(s / n) if n else None for s, n in totals.T]


def _curve(found: dict[str, Any]) -> Curve:
    def numbers(values: list[float | None]) -> np.ndarray:
        return np.array([np.nan if value is None else value for value in values])

    sticky = np.nan if found["sticky"] is None else found["sticky"]
    return Curve(
        numbers(found["error"]),
        numbers(found["detail"]),
        np.array(found["weight"]),
        np.array(found["rows"]),
        sticky,
        found["ends"],
    )
