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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dfgym.data.record import record
from dfgym.data.store import EpisodeStore
from dfgym.errors import DataError
from dfgym.files import write_json
from dfgym.study import dreams, games
from dfgym.study.dreams import How
from dfgym.study.games import Scale
from dfgym.train.checkpoint import FILE, averaged_weights, check_data, read_checkpoint
from dfgym.train.config import TrainConfig, from_settings, settings
from dfgym.train.loop import train
from dfgym.train.pack import draft_card, held_out_starts
from dfgym.train.survey import survey
from dfgym.world.bundle import World

MODELS: dict[str, dict[str, Any]] = {
    "diffusion forcing": {},
    "teacher forcing": {"law": "teacher_forcing"},
    "recurrent": {"model": {"kind": "recurrent", "heads": 1}},
    "video only": {"image_steps": 0},
    "mixture": {"image_steps": 0, "image_share": 0.3},
    "v": {"model": {"target": "v"}},
    "shortcut": {"model": {"shortcut": 16}},
    "outcomes": {"model": {"mixture": 8}},
}
"""What each model is told beyond the study's usual training; `chunked K` besides."""
FORMAT = 3
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

    def config(self, game: str, model: str) -> TrainConfig:
        """How a model is trained.

        Raises:
            KeyError: there is no such model.
        """
        base = games.recipe(game, self.scale).train
        match model.split():
            case ["chunked", known]:
                told: dict[str, Any] = {"law": "full_sequence", "clean_frames": int(known)}
            case _:
                told = dict(MODELS[model])
        if "image_steps" in told:  # as many steps in all
            told["steps"] = base.steps + base.image_steps - told["image_steps"]
        told["model"] = dataclasses.replace(base.model, **told.get("model", {}))
        where = self.folder / game
        out = where / f"models-{FORMAT}" / model.replace(" ", "-")
        return dataclasses.replace(
            base, **told, data=(where / "data",), out=out, device=self.device
        )

    def data(self, game: str) -> EpisodeStore:
        """The game's recordings, made if they are missing."""
        asked = dataclasses.asdict(games.recipe(game, self.scale).record)
        env, frames, policies = (asked.pop(key) for key in ("env", "frames", "policies"))
        asked["resize"] = asked["resize"] or None
        return record(env, self.folder / game / "data", frames, policies, **asked)

    def world(self, game: str, model: str) -> World:
        """A trained model as a world in memory, trained if it is missing.

        Raises:
            DataError: what is there was trained by another version, or is damaged.
        """
        config = self.config(game, model)
        self.data(game)
        if not _is_trained(config):
            print(f"== {game}: {model}")
            train(config)
        return _world(config)

    def curve(self, game: str, model: str, how: How | None = None) -> Curve:
        """Dream with a model and judge it, once."""
        how = how or How()
        world = self.world(game, model)
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
        found = {"told": told, **self._measure(game, world, how, f"{model}, {how.key}")}
        write_json(path, found)
        return _curve(found)

    def _measure(self, game: str, world: World, how: How, name: str) -> dict[str, Any]:
        horizon, rows = self.scale.horizon, self.scale.rows[game]
        totals = np.zeros((2, 2, horizon))  # error and detail: sum, count
        by_row = np.zeros((len(self.scale.seeds), rows, 2))
        sticky, ends = [], 0
        for index, seed in enumerate(tqdm(self.scale.seeds, desc=name, unit="seed")):
            for episode in dreams.play(world, how, rows, horizon, seed):
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


def _is_trained(config: TrainConfig) -> bool:
    """Whether a model is there, whole.

    Raises:
        DataError: it was trained by another version of the study, or on other data, so it is not
            the one asked for.
    """
    if not (config.out / FILE).is_file():
        return False
    _, step, saved = read_checkpoint(config.out)
    recorded = saved.pop("recorded", None)
    try:
        same = settings(from_settings(saved, config.out)) == settings(config)
    except ValueError:
        same = False
    if not same:
        raise DataError(
            f"{config.out} holds a study model of another version (its settings differ): remove "
            "that folder to train it anew, or choose another --runs"
        )
    check_data(config.out, recorded, [EpisodeStore.open(path) for path in config.data])
    return step == config.image_steps + config.steps


@functools.lru_cache(maxsize=4)
def _world(config: TrainConfig) -> World:
    """What `pack` writes, in memory: models that make whole blocks are no environments."""
    tensors, _, _ = read_checkpoint(config.out)
    stores = [EpisodeStore.open(path) for path in config.data]
    card = draft_card(config, survey(stores, config.held_out), stores)
    weights = averaged_weights(tensors)
    parts = (name.encode() + weights[name].numpy().tobytes() for name in sorted(weights))
    digest = hashlib.sha256(b"".join(parts))
    starts = held_out_starts(stores, config.held_out)
    return World(card, digest.hexdigest(), config.out, weights, starts)


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
