"""The runner of the study: it records, trains and measures what is missing, and keeps all of it.

Data, models and measurements stay on disk under one folder, each beside the settings that made it;
so a study that was stopped goes on, and findings that need the same share it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dfgym.agents.players import make_factory
from dfgym.checks import to_plain
from dfgym.data.record import record
from dfgym.data.store import EpisodeStore
from dfgym.errors import DataError
from dfgym.files import write_json
from dfgym.study import blocks, games
from dfgym.study.blocks import RolloutSpec, StudyModel
from dfgym.study.curve import Curve
from dfgym.study.games import Scale
from dfgym.study.methods.objectives import Method
from dfgym.train.checkpoint import FILE, averaged_weights, check_data, read_checkpoint
from dfgym.train.config import TrainConfig, fixed_settings, from_table
from dfgym.train.loop import train
from dfgym.train.pack import draft_card, held_out_starts
from dfgym.train.survey import survey
from dfgym.world.bundle import World
from dfgym.world.card import Sampler

OURS, TEACHER = "diffusion forcing", "teacher forcing"
METHOD_FILE = "method.json"
FORMAT = 4
"""The format of models and measurements; raise it when the same settings mean something else."""


@dataclass(frozen=True)
class ModelRecipe:
    """How a model is trained: a method, and what differs from the study's usual training.

    Attributes:
        method: how frames are noised and scored.
        model: changes of the network's sizes.
        settings: changes of the training configuration.
        recording: changes of the recordings, which the model then has for itself.
        longer: by how many times more steps it is trained.
    """

    method: Method = field(default_factory=Method)
    model: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    recording: dict[str, Any] = field(default_factory=dict)
    longer: float = 1


def fenced(*players: str) -> ModelRecipe:
    """Return how a model is trained on what players of `dfgym.study.composition` play, each alone.

    No action sticks, so that a player's fence holds.
    """
    share = 1 / len(players)
    return ModelRecipe(
        settings={
            "batch": 8,
            "length": 10,
            "noise_share": 0.5,
            "clean_share": 0.5,
            "sampler": Sampler(1, 1.0, context_mode="clean", context_noise=0.0),
        },
        recording={
            "policies": {f"module:dfgym.study.composition:{name}": share for name in players},
            "env_kwargs": {"sticky_action_prob": 0.0},
        },
        longer=2,
    )


MODELS: dict[str, ModelRecipe] = {
    OURS: ModelRecipe(),
    TEACHER: ModelRecipe(Method(corruption="teacher_forcing")),
    "recurrent": ModelRecipe(model={"kind": "recurrent", "heads": 1}),
    "video only": ModelRecipe(settings={"image_steps": 0}),
    "mixture": ModelRecipe(Method(image_share=0.3), settings={"image_steps": 0}),
    "v": ModelRecipe(Method(target="v")),
    "shortcut": ModelRecipe(Method(finest=16)),
    "outcomes": ModelRecipe(model={"mixture": 8}),
    "half": ModelRecipe(longer=0.5),
    "half with action dropout": ModelRecipe(settings={"action_dropout": 0.1}, longer=0.5),
    "halves": fenced("Left", "Right"),
    "open": fenced("Open"),
}
"""All models but those of `chunked`, `remembering` and `composing`."""
MEMORIES: dict[str, dict[str, Any]] = {
    "window-6": {},
    "window-16": {"window": 16},
    "window-32": {"window": 32},
    "window-160": {"window": 160},
    "recurrent": {"kind": "recurrent", "heads": 1},
    "archive": {"memory": "archive", "memory_size": 64},
    "state-space": {"memory": "state_space", "memory_size": 64},
    "spatial-map": {"memory": "spatial_map", "memory_size": 41},
}
"""What differs in the networks whose memories are compared."""


def remembering(name: str, seed: int) -> str:
    """Return the name of the model with one of `MEMORIES`, trained from a seed."""
    return f"memory {name} {seed}"


def composing(seed: int) -> str:
    """Return the name of the model of two fenced players' recordings, trained from a seed."""
    return f"halves {seed}" if seed else "halves"


def chunked(clean_frames: int) -> str:
    """Return the name of the model of full-sequence diffusion that sees so many clean frames."""
    return f"chunked {clean_frames}"


def model_recipe(model: str) -> ModelRecipe:
    """Return how a model is trained.

    Raises:
        KeyError: there is no such model.
    """
    match model.split():
        case ["memory", name, seed]:
            return ModelRecipe(model=MEMORIES[name], settings={"seed": int(seed)})
        case ["halves", seed]:
            halves = MODELS["halves"]
            return dataclasses.replace(halves, settings={**halves.settings, "seed": int(seed)})
        case ["chunked", clean_frames]:
            method = Method(corruption="full_sequence", clean_frames=int(clean_frames))
            return ModelRecipe(method)
        case _:
            return MODELS[model]


@dataclass(frozen=True)
class StudyRunner:
    """A folder of data, models and measurements at one scale."""

    folder: Path
    scale: Scale
    device: str = "auto"
    _stores: dict[tuple[str, str], EpisodeStore] = field(
        default_factory=dict, init=False, repr=False
    )
    _models: dict[tuple[str, str], StudyModel] = field(default_factory=dict, init=False, repr=False)

    def config(self, game: str, model: str = OURS) -> TrainConfig:
        """Return the training configuration of a model.

        Raises:
            KeyError: there is no such model.
        """
        base = games.recipe(game, self.scale).train
        recipe = model_recipe(model)
        settings = dict(recipe.settings)
        if "image_steps" in settings:  # as many steps in all
            settings["steps"] = base.steps + base.image_steps - settings["image_steps"]
        settings["steps"] = int(recipe.longer * settings.get("steps", base.steps))
        folder = self.folder / game
        return dataclasses.replace(
            base,
            **settings,
            model=dataclasses.replace(base.model, **recipe.model),
            data=(folder / _data_name(model),),
            out=folder / f"models-{FORMAT}" / model.replace(" ", "-"),
            device=self.device,
        )

    def data(self, game: str, model: str = OURS) -> EpisodeStore:
        """Return the recordings of a game that a model learns from, made if they are missing."""
        name = _data_name(model)
        if (game, name) not in self._stores:
            recording = games.recipe(game, self.scale).record
            recording = dataclasses.replace(recording, **model_recipe(model).recording)
            path = self.folder / game / name
            self._stores[game, name] = record(recording, path, make_factory)
        return self._stores[game, name]

    def model(self, game: str, model: str) -> StudyModel:
        """Return a trained model, trained if it is missing.

        Raises:
            DataError: the one on disk was trained by another version, or is damaged.
        """
        if (game, model) not in self._models:
            config, method = self.config(game, model), model_recipe(model).method
            self.data(game, model)
            if not _is_trained(config, method):
                print(f"== {game}: {model}")
                write_json(config.out / METHOD_FILE, to_plain(method))
                train(config, method.objective(), method.build)
            self._models[game, model] = load_trained(config, method)
        return self._models[game, model]

    def curve(self, game: str, model: str, spec: RolloutSpec | None = None) -> Curve:
        """Dream with a model and judge the dreams, once."""
        spec = spec or RolloutSpec()
        trained = self.model(game, model)
        path = self.folder / game / "measured" / model.replace(" ", "-") / f"{spec.key}.json"
        origin = {
            "format": FORMAT,
            "model": trained.world.hash,
            "sampler": dataclasses.asdict(trained.world.card.sampler),
            "rows": self.scale.rows[game],
            "horizon": self.scale.horizon,
            "seeds": list(self.scale.seeds),
        }
        if path.is_file() and (saved := json.loads(path.read_text())).get("origin") == origin:
            return Curve.from_table(saved)
        measured = self._measure(game, trained, spec, f"{model}, {spec.key}")
        write_json(path, {"origin": origin, **measured})
        return Curve.from_table(measured)

    def _measure(
        self, game: str, model: StudyModel, spec: RolloutSpec, name: str
    ) -> dict[str, Any]:
        horizon, rows = self.scale.horizon, self.scale.rows[game]
        totals = np.zeros((2, 2, horizon))  # error and detail: sum, weight
        by_row = np.zeros((len(self.scale.seeds), rows, 2))
        sticky, ends = [], 0
        for index, seed in enumerate(tqdm(self.scale.seeds, desc=name, unit="seed")):
            for episode in blocks.play(model, spec, rows, horizon, seed):
                judged = games.judge(game, episode)
                for measure, values in enumerate((judged.error, judged.detail)):
                    weights = np.where(np.isfinite(values), judged.weight, 0)
                    errors = weights * np.nan_to_num(values)
                    totals[measure, 0, : len(values)] += errors
                    totals[measure, 1, : len(values)] += weights
                    if not measure:
                        by_row[index, episode.row] += errors.sum(), weights.sum()
                sticky.append(judged.sticky)
                ends += int(episode.terminated.any())
        all_sticky = np.concatenate(sticky)
        return {
            "error": _means(totals[0]),
            "detail": _means(totals[1]),
            "weight": totals[0, 1].tolist(),
            "rows": by_row.reshape(-1, 2).tolist(),
            "sticky": None if np.isnan(all_sticky).all() else float(np.nanmean(all_sticky)),
            "ends": 1000 * ends / (len(self.scale.seeds) * rows * horizon),
        }


def _data_name(model: str) -> str:
    """Return the folder of the recordings that a model learns from, whatever its seed."""
    return f"data-{model.split()[0]}" if model_recipe(model).recording else "data"


def _is_trained(config: TrainConfig, method: Method) -> bool:
    """Whether a model is on disk, whole.

    Raises:
        DataError: it was trained by another version of the study, or on other data, so it is not
            the one that is needed.
    """
    if not (config.out / FILE).is_file():
        return False
    _, step, origin, *_ = read_checkpoint(config.out)
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
def load_trained(config: TrainConfig, method: Method) -> StudyModel:
    """Make in memory what `pack` writes: not every model of the study can be an environment."""
    tensors, *_ = read_checkpoint(config.out)
    stores = [EpisodeStore.open(path) for path in config.data]
    training = {"action_dropout": config.action_dropout}  # without, no guidance
    card = draft_card(config, survey(stores, config.held_out), stores, training=training)
    weights = averaged_weights(tensors)
    parts = (name.encode() + weights[name].numpy().tobytes() for name in sorted(weights))
    digest = hashlib.sha256(b"".join(parts))
    starts = held_out_starts(stores, config.held_out)
    return StudyModel(World(card, digest.hexdigest(), config.out, weights, starts), method)


def _means(totals: np.ndarray) -> list[float | None]:
    return [float(total / weight) if weight else None for total, weight in totals.T]
