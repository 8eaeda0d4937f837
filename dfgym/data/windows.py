"""Training windows from a data set: each batch is a function of the seed, the step and the rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError, DataError


def first_held_out(store: EpisodeStore, fraction: float) -> int:
    """Index of the first held-out episode: the last `fraction` of the episodes, at least one.

    Raises:
        ConfigError: `fraction` does not lie in (0, 1).
        DataError: fewer than two episodes, so that one part would be empty.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"held_out {fraction!r} must lie in (0, 1)")
    if len(store) < 2:
        raise DataError(
            f"{store.path} has {len(store)} episode(s); it needs at least 2, one to train on and "
            "one to hold out; record more frames"
        )
    return len(store) - min(max(round(len(store) * fraction), 1), len(store) - 1)


def longest_episode(stores: Sequence[EpisodeStore], held_out: float) -> int:
    """Return the frames of the longest episode that is not held out.

    Raises:
        DataError: a data set has fewer than two episodes.
    """
    offsets = [store.offsets[: first_held_out(store, held_out) + 1] for store in stores]
    return max(int(np.diff(own).max()) for own in offsets)


def check_length(stores: Sequence[EpisodeStore], length: int, held_out: float) -> None:
    """Check that windows of this length can be learned from.

    Raises:
        DataError: no episode is as long as a window.
    """
    longest = longest_episode(stores, held_out)
    if longest < length:
        raise DataError(
            f"length is {length}, and no episode in {', '.join(str(s.path) for s in stores)} is "
            f"as long: the longest has {longest} frames; record longer episodes, or set length to "
            f"{longest} at most (and model.window below it)"
        )


class WindowSampler:
    """Draws windows of consecutive frames, uniformly over all places where one can begin.

    Episodes lie end to end, and windows run across their borders (`segment` tells the episodes
    in a window apart), so that first and terminal frames are seen as often as others. The sampler
    has no state: a run that is stopped and resumed at a step sees the same data.

    Args:
        stores: one data set or several; their frame sizes and actions must agree.
        length: frames in a window.
        batch: windows in a batch, on each rank.
        seed: of the draws.
        held_out: the last share of every data set's episodes, in (0, 1), kept from training.
        past: how many frames must lead to one in the window, or all since its episode began, for
            its transition to be `valid`.

    Raises:
        DataError: the data sets do not fit together, or no episode is as long as a window.
    """

    def __init__(
        self,
        stores: EpisodeStore | Sequence[EpisodeStore],
        length: int,
        batch: int,
        seed: int,
        held_out: float = 0.05,
        past: int = 1,
    ) -> None:
        if length < 2 or batch < 1:
            raise ConfigError(
                f"length {length} and batch {batch}: a window needs at least 2 frames and a batch "
                "at least 1 window"
            )
        if not 1 <= past < length:
            raise ConfigError(
                f"past is {past}; it must be 1 at least, and less than the {length} frames of a "
                "window, so that some of them have their past in it; set a smaller past or a "
                "longer length"
            )
        self.stores = [stores] if isinstance(stores, EpisodeStore) else list(stores)
        _check_alike(self.stores)
        self.length, self.batch_size, self.seed = length, batch, seed
        self.action_space = self.stores[0].action_space
        self.frame_shape = self.stores[0].frame_shape
        self._arrivals = [_Arrivals(store, past) for store in self.stores]
        check_length(self.stores, length, held_out)
        firsts, counts = [], []  # of each data set: first window, number of windows
        for store in self.stores:
            offsets = store.offsets[: first_held_out(store, held_out) + 1]
            firsts.append(int(offsets[0]))
            counts.append(max(int(offsets[-1] - offsets[0]) - length + 1, 0))
        self._firsts = np.array(firsts)
        self._ends = np.cumsum(counts)

    @property
    def num_windows(self) -> int:
        """How many different windows there are."""
        return int(self._ends[-1])

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> dict[str, np.ndarray]:
        """The batch of a training step; ranks draw different parts of one larger batch.

        Returns:
            Fresh arrays. `frames` uint8 `(b, t, h, w, 3)`; `actions` int64 `(b, t)` or float32
            `(b, t, parts)`: the action that led to each frame, `action_space.none` for the first
            frame of a window or an episode; `rewards` float32 and `terminated` bool `(b, t)`: on
            arrival at each frame; `valid` bool `(b, t)`: whether they count (an action led there,
            and enough of the frame's past is in the window); `segment` int32 `(b, t)`: which of the
            window's episodes a frame belongs to, from 0.
        """
        generator = np.random.default_rng([self.seed, step])
        draws = generator.integers(self.num_windows, size=self.batch_size * world_size)
        draws = draws[rank * self.batch_size : (rank + 1) * self.batch_size]
        owners = np.searchsorted(self._ends, draws, side="right")
        starts = draws - np.concatenate([[0], self._ends])[owners] + self._firsts[owners]
        rows = starts[:, None] + np.arange(self.length)  # b t
        if len(self.stores) == 1:
            return self._arrivals[0].take(rows)
        parts = [
            (np.flatnonzero(owners == owner), arrivals)
            for owner, arrivals in enumerate(self._arrivals)
        ]
        pieces = [arrivals.take(rows[places]) for places, arrivals in parts]
        order = np.argsort(np.concatenate([places for places, _ in parts]))
        return {name: np.concatenate([p[name] for p in pieces])[order] for name in pieces[0]}


class _Arrivals:
    """A data set seen from the frames that its transitions lead to."""

    def __init__(self, store: EpisodeStore, past: int) -> None:
        self.past = past
        self.frames = store.frames
        self.none = store.action_space.none
        self.first = np.zeros(store.num_frames, bool)
        self.first[store.offsets[:-1]] = True
        self.actions = np.roll(store.actions, 1, axis=0)
        self.actions[self.first] = self.none
        self.rewards = np.where(self.first, np.float32(0), np.roll(store.rewards, 1))
        self.terminated = ~self.first & np.roll(store.terminated, 1)

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The windows of rows `(b, t)`; nothing led to a window's first frame."""
        first = self.first[rows]
        segment = np.cumsum(first[:, 1:], axis=1, dtype=np.int32)
        segment = np.pad(segment, ((0, 0), (1, 0)))
        cut = (segment == 0) & ~first[:, :1]  # the episode began before the window
        window = {
            "frames": self.frames[rows],
            "actions": self.actions[rows],
            "rewards": self.rewards[rows],
            "terminated": self.terminated[rows],
            "segment": segment,
            "valid": ~first & ~(cut & (np.arange(rows.shape[1]) < self.past)),
        }
        window["actions"][:, 0] = self.none
        for name in ("rewards", "terminated"):
            window[name][:, 0] = 0
        return window


def _check_alike(stores: Sequence[EpisodeStore]) -> None:
    if not stores:
        raise DataError("there is no data set to draw windows from")
    first = stores[0]
    for store in stores[1:]:
        if store.frame_shape != first.frame_shape:
            raise DataError(
                f"mixed frame sizes: {first.path} has {first.frame_shape}, {store.path} has "
                f"{store.frame_shape}; record them with one size (resize)"
            )
        if store.action_space.network_form != first.action_space.network_form:
            raise DataError(
                f"mixed actions: {first.path} has {first.action_space}, {store.path} has "
                f"{store.action_space}; train on data sets of one game"
            )
