"""What a network needs of actions: computed once where they are few, else in every step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dfgym.actions import ActionSpace
from dfgym.errors import ConfigError
from dfgym.model.network import Network
from dfgym.world.card import Card


class Conditions(NamedTuple):
    """What a network needs of the actions of some rows, at every level that it visits.

    Attributes:
        levels: the network's conditioning of each signal level.
        places: int64 `(b,)`, where each row's action stands in it.
    """

    levels: dict[float, Any]
    places: Tensor

    def repeat(self, count: int) -> Conditions:
        """Return those of as many copies of each row."""
        return self._replace(places=self.places.repeat_interleave(count))


class Conditioner:
    """Embeds actions at every level that the network visits; discrete ones once and for all.

    Args:
        network: the network.
        space: of the actions.
        levels: the signal levels.
        device: the network's.
    """

    def __init__(
        self, network: Network, space: ActionSpace, levels: Iterable[float], device: torch.device
    ) -> None:
        self._network, self._levels, self._device = network, set(levels), device
        self._discrete: dict[float, Any] | None = None
        if space.is_discrete:
            self._discrete = {tau: network.conditioning(tau) for tau in self._levels}

    def __call__(self, actions: np.ndarray) -> Conditions:
        """Embed the actions of some rows, int64 `(b,)` or float32 `(b, parts)`."""
        rows = torch.from_numpy(actions).to(self._device)
        if self._discrete is not None:
            return Conditions(self._discrete, rows)
        levels = {tau: self._network.conditioning(tau, rows) for tau in self._levels}
        return Conditions(levels, torch.arange(len(rows), device=self._device))


def in_turn(
    contexts: Sequence[tuple[np.ndarray, np.ndarray]], card: Card
) -> Iterator[tuple[np.ndarray, np.ndarray, list[int]]]:
    """Go through contexts of several rows side by side, frame by frame.

    A row whose context is over repeats its last frame, which changes nothing.

    Args:
        contexts: for each row frames `(t, h, w, 3)` and at least the t - 1 actions between them, of
            which the last ones count.
        card: the world's. What led to a first frame, where none did, is its first action.

    Yields:
        The rows' frames `(b, h, w, 3)`, the actions that led there `(b, ...)`, and the frames'
        numbers in their contexts.

    Raises:
        ConfigError: frames of another size than the model's, or of none.
    """
    size = (card.frames.height, card.frames.width, 3)
    shapes = [frames.shape for frames, _ in contexts]
    if wrong := [shape for shape in shapes if shape[1:] != size or not shape[0]]:
        raise ConfigError(
            f"a context has frames of shape {wrong[0]}; expected (t, *{size}), t at least 1, as "
            f"{card.name} draws them"
        )
    nothing = card.actions.fill(1)[0]
    for t in range(max(len(frames) for frames, _ in contexts)):
        time = [min(t, len(frames) - 1) for frames, _ in contexts]
        rows = list(zip(contexts, time, strict=True))
        actions = [a[len(a) - len(frames) + i] if i else nothing for (frames, a), i in rows]
        yield np.stack([frames[i] for (frames, _), i in rows]), card.actions.stack(actions), time
