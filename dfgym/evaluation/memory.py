"""What a dream remembers: there and back, and two pasts that differ in one thing.

A trip is played in the real game: it wanders, stands at home, goes or looks away and is back at
home after a number of steps, the gap. The dream is given the frames up to home, plays the same
actions, and draws home again; the real game says what was there. Tiles in sight shortly before the
return say nothing about memory, and walls can be guessed: counted are tiles of the floor, whose
colour is a matter of chance in every layout, that home showed and that were not in sight shortly
before. Who knows no past is right on a third of them, and who recalls all is right on all.

In a pair the same trip is played in two copies of a game in which one tile of the floor differs. If
home shows the tile, the two dreams must differ as the games do; if it does not, they must not
differ.

Legend: n trips, t frames, v = 7 x 7 tiles of the view.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from dfgym.errors import ConfigError
from dfgym.games.minigrid import (
    DARK,
    ENV,
    FLOORS,
    FORWARD,
    PALETTE,
    SIZE,
    VIEW,
    ExcursionPolicy,
    MiniGridEnv,
    read_view,
    view_places,
    way_back,
)
from dfgym.world.dynamics import Dynamics

WANDER = 24
"""Steps before home."""
RECENT = 6
"""Frames before the return in which a tile must not be in sight to be counted as remembered."""
TRIES = 200
"""So many games are tried for one trip or pair."""

MakeDynamics = Callable[[int], Dynamics]


@dataclass(frozen=True)
class Trip:
    """A walk in the real game that ends where it stood before.

    Attributes:
        frames: uint8 `(t, h, w, 3)`.
        actions: `(t - 1,)`.
        places: int `(t, 7, 7, 2)`, which tile of the room each tile of the view shows.
        home: the frame from which the dream goes on; the last frame is at the same place.
    """

    frames: np.ndarray
    actions: np.ndarray
    places: np.ndarray
    home: int

    def context(self, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the frames up to one and the actions between them."""
        return self.frames[: last + 1], self.actions[:last]

    @cached_property
    def views(self) -> np.ndarray:
        """What each tile of every frame shows, int8 `(t, 7, 7)`."""
        return np.stack([read_view(frame) for frame in self.frames])

    def in_sight(self, frames: slice) -> set[tuple[int, int]]:
        """Return the tiles of the room that some frames show."""
        shows = self.views[frames] != DARK
        return {tuple(place) for place in self.places[frames][shows].tolist()}

    @cached_property
    def remembered(self) -> np.ndarray:
        """Which floor in the last view home showed and no frame since shortly, `(7, 7)`."""
        recent = self.in_sight(slice(max(len(self.frames) - 1 - RECENT, self.home + 1), -1))
        home = self.in_sight(slice(self.home, self.home + 1))
        far = home - recent
        counted = np.array([[tuple(p) in far for p in row] for row in self.places[-1].tolist()])
        return counted & np.isin(self.views[-1], list(FLOORS))


class Pair(NamedTuple):
    """A trip in two games that differ in one tile, which home shows or not."""

    one: Trip
    other: Trip
    relevant: bool


def check_gap(gap: int, longest: int) -> None:
    """Refuse a gap that cannot be walked.

    Raises:
        ConfigError: it is no even number of at least 2, or no episode is so long.
    """
    if type(gap) is not int or gap < 2 or gap % 2:
        raise ConfigError(f"gap is {gap!r}; expected an even number of 2 or more steps")
    if WANDER + gap > longest:
        raise ConfigError(
            f"gap is {gap}; expected at most {longest - WANDER}: an episode has {longest} steps, "
            f"of which {WANDER} lead home"
        )


def play(env: MiniGridEnv, actions: Sequence[int], home: int, frame: np.ndarray) -> Trip | None:
    """Play actions in a game from its present frame on; None if it ends before they do."""
    frames, places = [frame], [view_places(env.pose)]
    for i, action in enumerate(actions):
        frame, _, terminated, truncated, _ = env.step(action)
        if terminated or (truncated and i + 1 < len(actions)):
            return None
        frames.append(frame)
        places.append(view_places(env.pose))
    return Trip(np.stack(frames), np.array(actions, np.int64), np.stack(places), home)


def plan_trip(env: MiniGridEnv, gap: int, random: np.random.Generator) -> list[int] | None:
    """Choose the actions of a trip in a copy of a game; None if this try comes to nothing."""
    env, policy = copy.deepcopy(env), ExcursionPolicy(seed=int(random.integers(2**31)))
    frame = env.draw()
    actions: list[int] = []
    away = gap // 2 if gap < 8 else gap // 2 - 2  # two about-faces where it walks
    for _ in range(WANDER + away):
        actions.append(policy.wander(int(read_view(frame)[-2, VIEW // 2])))
        frame, _, terminated, truncated, _ = env.step(actions[-1])
        if terminated or truncated:
            return None
    if gap < 8:
        way = [0 if action == FORWARD else action for action in actions[WANDER:]]
        return actions[:WANDER] + way + way_back(way)
    actions += way_back(actions[WANDER:])
    return actions if len(actions) == WANDER + gap else None


def make_trips(gap: int, count: int, seed: int, max_steps: int = 1000) -> list[Trip]:
    """Play trips of one gap in layouts of their own.

    Raises:
        ConfigError: see `check_gap`.
    """
    check_gap(gap, max_steps)
    env, random = MiniGridEnv("four_rooms", max_steps), np.random.default_rng(seed)
    trips: list[Trip] = []
    for _ in range(TRIES * count):
        frame, _ = env.reset(seed=int(random.integers(2**31)))
        actions = plan_trip(env, gap, random)
        trip = None if actions is None else play(env, actions, WANDER, frame)
        if trip is None or not trip.remembered.any():
            continue
        if np.array_equal(trip.frames[trip.home], trip.frames[-1]):
            trips.append(trip)
        if len(trips) == count:
            return trips
    raise ConfigError(f"gap is {gap}; no such walks were possible in {ENV}")


def make_pairs(
    gap: int, count: int, seed: int, relevant: bool, max_steps: int = 1000
) -> list[Pair]:
    """Play trips in two games that differ in the colour of one tile of the floor.

    Home shows the tile, and no frame shortly before the return, if it is `relevant`; if not, only
    frames before home show it.
    """
    check_gap(gap, max_steps)
    env, random = MiniGridEnv("four_rooms", max_steps), np.random.default_rng(seed)
    pairs: list[Pair] = []
    for _ in range(TRIES * count):
        frame, _ = env.reset(seed=int(random.integers(2**31)))
        actions = plan_trip(env, gap, random)
        trip = None if actions is None else play(copy.deepcopy(env), actions, WANDER, frame)
        if trip is None:
            continue
        places = sorted(_tiles(trip, relevant))
        if places:
            place, other = places[int(random.integers(len(places)))], copy.deepcopy(env)
            colours = [kind for kind in FLOORS if kind != env.floor(place)]
            other.lay_floor(place, colours[int(random.integers(len(colours)))])
            changed = play(other, trip.actions.tolist(), WANDER, other.draw())
            assert changed is not None
            pairs.append(Pair(trip, changed, relevant))
        if len(pairs) == count:
            return pairs
    raise ConfigError(f"gap is {gap}; no such pairs were possible in {ENV}")


def _tiles(trip: Trip, relevant: bool) -> set[tuple[int, int]]:
    """Return the tiles whose colour makes a pair."""
    if relevant:
        return {tuple(place) for place in trip.places[-1][trip.remembered].tolist()}
    floor = {tuple(p) for p in trip.places[np.isin(trip.views, list(FLOORS))].tolist()}
    return (floor & trip.in_sight(slice(0, trip.home))) - trip.in_sight(slice(trip.home, None))


def dream_return(
    make: MakeDynamics, trips: Sequence[Trip], forced: bool = False, zeroed: bool = False
) -> np.ndarray:
    """Let a world draw the last frame of each trip; uint8 `(n, h, w, 3)`.

    Args:
        make: makes the world's dynamics of so many rows.
        trips: of one gap.
        forced: the world is given all real frames but the last; else those up to home, and dreams
            all others.
        zeroed: its memory is emptied before the last frame.
    """
    dynamics = make(len(trips))
    rows = np.arange(len(trips))
    last = len(trips[0].actions)
    begin = last - 1 if forced else trips[0].home
    dynamics.reset(rows, rows, [trip.context(begin) for trip in trips])
    frames = dynamics.frames()
    for i in range(begin, last):
        if zeroed and i == last - 1:
            empty_memory(dynamics)
        frames = dynamics.step(np.array([trip.actions[i] for trip in trips])).frames
    return frames


@torch.inference_mode()
def empty_memory(dynamics: Dynamics) -> None:
    """Zero all that rows carry beyond their windows; of a recurrent network, all of its past."""
    model = dynamics.world.card.model
    for cache in dynamics.batch.caches:
        for layer in cache if model.kind == "recurrent" else cache[model.depth :]:
            for tensor in layer:
                tensor.zero_()


def accuracy(frames: np.ndarray, trips: Sequence[Trip]) -> np.ndarray:
    """Compare what was drawn at the return with the real game.

    Returns:
        int `(n, 2)`: of each trip how many tiles are right and how many there are, of those that
        home shows and that were not in sight shortly before.
    """
    counts = []
    for frame, trip in zip(frames, trips, strict=True):
        right = (read_view(frame) == trip.views[-1])[trip.remembered]
        counts.append((int(right.sum()), right.size))
    return np.array(counts)


def prior(trips: Sequence[Trip]) -> np.ndarray:
    """Return what knows no past: in each place the commonest floor of the other trips; n frames."""
    counts = np.stack([[(trip.views == kind).sum(0) for trip in trips] for kind in FLOORS])
    return _frames(np.array(list(FLOORS))[(counts.sum(1, keepdims=True) - counts).argmax(0)])


def look_up(trips: Sequence[Trip]) -> np.ndarray:
    """Return what recalls all: each tile as it was last in sight before the return; n frames."""
    result = []
    for trip in trips:
        room: dict[tuple[int, int], int] = {}
        for view, places in zip(trip.views[:-1], trip.places[:-1], strict=True):
            shows = view != DARK
            room |= zip(map(tuple, places[shows].tolist()), view[shows].tolist(), strict=True)
        result.append([[room.get(tuple(p), DARK) for p in row] for row in trip.places[-1].tolist()])
    return _frames(np.array(result))


def _frames(views: np.ndarray) -> np.ndarray:
    """Draw views `(n, 7, 7)` as frames."""
    return PALETTE[
        np.pad(views, ((0, 0), (SIZE - VIEW, 0), (0, SIZE - VIEW)), constant_values=DARK)
    ]


def compare_pairs(
    make: MakeDynamics, pairs: Sequence[Pair], forced: bool = False
) -> dict[str, Any]:
    """Let a world draw the end of both trips of each pair.

    Returns:
        `apart`: of each pair the share of its two dreams that are nearer to their own game's frame
        than to the other's, half where as near; `changed`: the share of tiles that differ between
        the dreams.
    """
    one = dream_return(make, [pair.one for pair in pairs], forced)
    other = dream_return(make, [pair.other for pair in pairs], forced)
    apart, changed = [], []
    for pair, first, second in zip(pairs, one, other, strict=True):
        real = (pair.one.views[-1], pair.other.views[-1])
        dreamt = (read_view(first), read_view(second))
        changed.append(float((dreamt[0] != dreamt[1]).mean()))
        scores = []
        for own in range(2):
            errors = [(dreamt[own] != real[i]).sum() for i in (own, 1 - own)]
            scores.append(float(np.sign(errors[1] - errors[0]) + 1) / 2)
        apart.append(float(np.mean(scores)))
    return {"apart": apart, "changed": changed}
