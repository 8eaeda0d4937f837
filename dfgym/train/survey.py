"""What a set of recordings says about its game: sizes, colours, rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfgym.actions import ActionSpace
from dfgym.data.store import EpisodeStore
from dfgym.data.survey import PALETTE, reward_buckets
from dfgym.data.windows import first_held_out
from dfgym.errors import DataError
from dfgym.model.config import GameSpec


@dataclass(frozen=True)
class Survey:
    """Facts of the training part of a data set that shape the network."""

    frame_shape: tuple[int, int, int]
    actions: ActionSpace
    palette: tuple[tuple[int, int, int], ...]
    rewards: tuple[float, ...]

    @property
    def game_spec(self) -> GameSpec:
        """What the game fixes of a network."""
        height, width, _ = self.frame_shape
        channels, categorical = len(self.palette) or 3, bool(self.palette)
        actions = self.actions.network_form
        return GameSpec(height, width, channels, categorical, actions, len(self.rewards))


def survey(stores: Sequence[EpisodeStore], held_out: float) -> Survey:
    """Look through the training episodes.

    Raises:
        DataError: there are no data.
    """
    if not stores:
        raise DataError("no data set is named; give at least one folder of `dfgym record`")
    first = stores[0]
    rewards: list[np.ndarray] = []
    colours: set[int] | None = set()
    for store in stores:
        last = store.offsets[first_held_out(store, held_out)]
        rewards.append(store.rewards[:last])
        for start in range(0, last, 4096):
            if colours is None:
                break
            rgb = store.frames[start : min(start + 4096, last)].reshape(-1, 3).astype(np.int32)
            colours.update(np.unique(rgb @ (65536, 256, 1)).tolist())
            if len(colours) > PALETTE:
                colours = None
    palette = tuple((c >> 16, c >> 8 & 255, c & 255) for c in sorted(colours or ()))
    return Survey(
        first.frame_shape,
        first.action_space,
        palette if len(palette) > 1 else (),
        reward_buckets(np.concatenate(rewards)),
    )
