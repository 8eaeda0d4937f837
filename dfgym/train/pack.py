"""Packing: from a run's mutable checkpoint to an immutable world."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dfgym.actions import ActionSpace
from dfgym.data.store import EpisodeStore
from dfgym.data.windows import first_held_out
from dfgym.errors import ConfigError, DataError
from dfgym.train.checkpoint import averaged_weights, check_data, read_checkpoint
from dfgym.train.config import TrainConfig, from_table
from dfgym.train.finetune import survey_run
from dfgym.train.loss import diffusion_forcing
from dfgym.train.survey import Survey
from dfgym.world.bundle import Starts, write
from dfgym.world.card import (
    FORMAT,
    Actions,
    Card,
    Episode,
    Files,
    Frames,
    Rewards,
    Source,
    check_name,
)

START_BYTES = 2**24
"""The frames of a world's starts take no more, so that large frames do not swell the world."""
MAX_STEPS = 1000
"""Where an episode is truncated if neither the game nor a presentation has a limit."""
SIDE = 40
"""Observations have at least so many pixels a side, if the presentation does not say otherwise."""
KEYS = {"left": "a", "right": "d", "up": "w", "down": "s", "fire": "space", "shoot": "space"}
"""The keys of actions with these meanings."""
UNWRITTEN = Files(weights="0" * 64, starts="0" * 64)


@dataclass(frozen=True)
class Presentation:
    """The part of a world's card that the data do not hold, or where they may be overruled."""

    description: str = ""
    """One sentence; if left out, the name of the game."""
    observation_scale: int = 0
    """Each model pixel is drawn this many pixels high and wide in observations; 0: as many as make
    small frames large enough for an agent's network, 40 pixels."""
    max_steps: int = 0
    """Where an episode is truncated; 0: at the game's own limit, or after 1,000 steps."""
    keys: dict[str, int | dict[str, float]] = field(default_factory=dict)
    """Keyboard key to action or, where actions have parts, to values of parts by their names; if
    left out, keys for the actions that are called left, right, up, down or fire."""
    names: tuple[str, ...] = ()
    """Names of an action's parts, where it is an array of them."""
    extra: str = ""
    """The extra of dfgym that installs the source game."""
    licence: str = "unknown"
    """Of the source game."""


def held_out_starts(
    stores: Sequence[EpisodeStore],
    held_out: float,
    limit: int = 4096,
    limit_bytes: int = START_BYTES,
) -> Starts:
    """Return whole held-out episodes: those that fit, in order, or else the shortest one alone.

    Args:
        stores: the recorded data.
        held_out: share of each store's episodes, its last ones.
        limit: the most frames.
        limit_bytes: the most bytes of all the frames together, uncompressed.
    """
    episodes = [
        (store, i) for store in stores for i in range(first_held_out(store, held_out), len(store))
    ]
    lengths = [store.episodes[i].frames for store, i in episodes]
    room = min(limit, limit_bytes // math.prod(stores[0].frame_shape))
    selected, offsets = [], [0]
    for episode, length in zip(episodes, lengths, strict=True):
        if offsets[-1] + length <= room:
            selected.append(episode)
            offsets.append(offsets[-1] + length)
    if not selected:
        selected, offsets = [episodes[int(np.argmin(lengths))]], [0, min(lengths)]
    slices = [(store, slice(*map(int, store.offsets[i : i + 2]))) for store, i in selected]
    return Starts(
        np.concatenate([store.frames[rows] for store, rows in slices]),
        np.concatenate([store.actions[rows] for store, rows in slices]),
        np.array(offsets, np.int64),
        np.array([store.episodes[i].seed for store, i in selected], np.int64),
    )


def player_shares(stores: Sequence[EpisodeStore]) -> dict[str, float]:
    """Return which players made recordings, and which share of all frames each was to make."""
    total = sum(store.num_frames for store in stores if "policies" in store.meta)
    shares: dict[str, float] = {}
    for store in stores:
        for player, share in store.meta.get("policies", {}).items():
            shares[player] = shares.get(player, 0.0) + share * store.num_frames / total
    return {player: round(share, 4) for player, share in shares.items()}


def draft_actions(
    space: ActionSpace, keys: dict[str, int | dict[str, float]], names: tuple[str, ...] = ()
) -> Actions:
    """Return the card's table of actions; parts get keys where there are none.

    Raises:
        WorldError: a key plays no action, or the names do not fit.
    """
    fields = {field.name: getattr(space, field.name) for field in dataclasses.fields(space)}
    if names:
        fields["names"] = names
    if space.is_discrete and not space.meanings:
        fields["meanings"] = tuple(map(str, range(space.count)))
    actions = Actions(**fields, keys=keys)
    return actions if keys or space.is_discrete else replace(actions, keys=suggest_keys(actions))


def suggest_keys(actions: Actions) -> dict[str, int | dict[str, float]]:
    """Return keys that play parts: arrows and letters to the bounds of values, digits for choices.

    Parts for which no keys are left have none.
    """
    pairs = iter(
        [("left", "right"), ("down", "up"), ("a", "d"), ("s", "w"), ("j", "l"), ("k", "i")]
    )
    digits = iter("1234567890")
    rest, keys = np.atleast_1d(actions.rest), dict[str, int | dict[str, float]]()
    for name, item, idle in zip(actions.part_names, actions.parts, rest, strict=True):
        ends = [value for value in item.extremes if value != idle]
        names = (
            tuple(itertools.islice(digits, len(ends))) if item.n else next(pairs, ())[-len(ends) :]
        )
        keys |= {key: {name: float(end)} for key, end in zip(names, ends, strict=False)}
    return keys


def complete(presentation: Presentation, game: Survey, meta: dict[str, Any]) -> Presentation:
    """Return a presentation whose open fields are filled from the recording.

    Args:
        presentation: what was asked for.
        game: the survey of the data.
        meta: what was recorded.
    """
    env = str(meta.get("env", "a game")).rpartition(":")[2]
    keys = dict(presentation.keys)
    if not keys and game.actions.is_discrete:
        words = [str(word).lower() for word in game.actions.meanings]
        for word, key in KEYS.items():
            if word in words and key not in keys:
                keys[key] = words.index(word)
    side = min(game.frame_shape[:2])
    return dataclasses.replace(
        presentation,
        description=presentation.description or f"{env}, learned from recorded play.",
        observation_scale=presentation.observation_scale or min(32, math.ceil(SIDE / side)),
        max_steps=presentation.max_steps or meta.get("max_steps") or MAX_STEPS,
        keys=keys,
    )


def draft_card(
    config: TrainConfig,
    game: Survey,
    stores: Sequence[EpisodeStore],
    *,
    name: str = "draft-v0",
    presentation: Presentation | None = None,
    training: dict[str, Any] | None = None,
) -> Card:
    """Return the card of a run's world; the hashes are filled in when it is written.

    Raises:
        WorldError: a value has no place on a card.
    """
    meta = stores[0].meta if stores else {}
    presentation = complete(presentation or Presentation(), game, meta)
    height, width = game.frame_shape[:2]
    return Card(
        format=FORMAT,
        name=name,
        description=presentation.description,
        source=Source(
            env=meta.get("env", "unknown").rsplit(":", 1)[-1],
            kwargs=meta.get("kwargs", {}),
            versions=meta.get("versions", {}),
            extra=presentation.extra,
            licence=presentation.licence,
            module=meta.get("module", ""),
            wrappers=tuple(meta.get("wrappers", ())),
            image_key=meta.get("image_key", ""),
            render=meta.get("render", False),
            filter=meta.get("filter", "area"),
        ),
        frames=Frames(
            height=height,
            width=width,
            observation_scale=presentation.observation_scale,
            fps=round(meta.get("fps") or 15),
            palette=game.palette,
        ),
        actions=draft_actions(game.actions, presentation.keys, presentation.names),
        episode=Episode(max_steps=presentation.max_steps),
        rewards=Rewards(values=game.rewards),
        model=config.model,
        sampler=config.sampler,
        files=UNWRITTEN,
        data={
            "frames": sum(store.num_frames for store in stores),
            "episodes": sum(len(store) for store in stores),
            "held_out": config.held_out,
            **({"seed": meta["seed"]} if "seed" in meta else {}),
            **({"policies": shares} if (shares := player_shares(stores)) else {}),
        },
        training=training or {},
        measured={},
    )


def pack(
    run: Path,
    out: Path,
    name: str,
    presentation: Presentation | None = None,
    data: Sequence[Path] = (),
) -> Path:
    """Write a run's averaged weights, its card and held-out starts as a world; return `out`.

    Args:
        run: the folder that `dfgym train` wrote.
        out: the world's folder, which must not exist yet.
        name: the world's name, like minatar-breakout-v0.
        presentation: how the world is presented to its users.
        data: where the run's data sets lie now; where they lay when it was trained, if left out.

    Raises:
        DataError: the run holds no whole checkpoint, or its data are gone, damaged or others.
        ConfigError: it was not trained by diffusion forcing.
        WorldError: the name is malformed, or `out` exists already.
    """
    check_name(name)
    tensors, step, origin, seconds, _ = read_checkpoint(run)
    if origin.objective != diffusion_forcing.name:
        raise ConfigError(
            f"{run} was trained by the objective {origin.objective!r}; expected "
            f"{diffusion_forcing.name!r}, the one that worlds are made with"
        )
    config = from_table(origin.settings, run)
    stores = [EpisodeStore.open(path) for path in data or config.data]
    check_data(run, origin, stores)
    for store in stores:
        store.verify()
    if step < 1:
        raise DataError(f"{run} has not trained a single step")
    game = survey_run(config, stores)
    training = {k: v for k, v in origin.settings.items() if k not in ("data", "model", "sampler")}
    training |= {"objective": origin.objective, "steps_done": step, "seconds": round(seconds, 1)}
    card = draft_card(config, game, stores, name=name, presentation=presentation, training=training)
    write(out, card, averaged_weights(tensors), held_out_starts(stores, config.held_out))
    return out
