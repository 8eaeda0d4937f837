"""Pictures in observations of any form, as frames uint8 `(h, w, 3)`.

A form is read off the space: `(h, w)`, `(h, w, 1)` and `(h, w, 3)`, with the channels last or
first, and several frames stacked in front or in the channels, of which the newest is the last one.
Four channels are RGB with opacity where that is full, and else four grey frames. Grids of ones and
zeros are drawn as MinAtar draws its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from dfgym.errors import ConfigError
from dfgym.games.minatar import palette

LEAST = 3  # a picture has at least as many rows and columns
LEAST_UNBYTED = 8  # and one of other numbers than bytes: (4, 4) floats are rarely a picture


@dataclass(frozen=True)
class Image:
    """Where in an observation its picture is.

    Attributes:
        key: the way to it through Dict and Tuple spaces, with dots; empty if it is all there is.
        space: the picture's own.
    """

    key: str
    space: gym.spaces.Box

    def frame(self, observation: Any) -> np.ndarray:
        """Return an observation's picture, fresh uint8 `(h, w, 3)`."""
        for key in filter(None, self.key.split(".")):
            observation = observation[int(key) if isinstance(observation, tuple) else key]
        return to_frame(observation, float(self.space.high.flat[0]))


def find_image(space: gym.Space[Any], key: str = "") -> Image | None:
    """Find the picture in an observation space; None if there is none.

    Args:
        space: the observation space.
        key: the way to it, with dots, where there are several.

    Raises:
        ConfigError: there are several and no key, or no picture has that key.
    """
    images = {place: box for place, box in _leaves(space) if is_image(box)}
    if key and "" in images:
        raise ConfigError(
            f"image-key is {key!r}; expected none, as the observations are images: leave it out"
        )
    if key and key not in images:
        raise ConfigError(
            f"image-key is {key!r}; the observations have "
            + (f"images at {', '.join(map(repr, images))}" if images else f"no image: {space}")
        )
    if len(images) > 1 and not key:
        raise ConfigError(
            f"the observations have several images, {', '.join(images)}; choose one: --image-key"
        )
    return next((Image(place, box) for place, box in images.items() if key in ("", place)), None)


def is_image(space: gym.Space[Any]) -> bool:
    """Whether a space is that of pictures, by its shape, type and bounds."""
    if not isinstance(space, gym.spaces.Box) or len(space.shape) not in (2, 3, 4):
        return False
    shape = space.shape[1:] if len(space.shape) == 4 else space.shape
    sides = sorted(shape)[-2:]
    low, high = float(space.low.min()), float(space.high.max())
    if space.dtype == np.uint8 or space.dtype == bool:
        return sides[0] >= LEAST
    return sides[0] >= LEAST_UNBYTED and low == 0 and high in (1, 255)


def to_frame(picture: Any, high: float = 255) -> np.ndarray:
    """Bring a picture of any form to a fresh uint8 `(h, w, 3)`.

    Args:
        picture: bool, bytes, or numbers from 0 to `high`.
        high: the brightest value, 1 or 255.

    Raises:
        ConfigError: it has another number of axes than 2 to 4, or numbers that are not finite.
    """
    array = np.asarray(picture)
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 <= array.shape[0]:
        return array.copy()  # by far the most usual
    if array.ndim not in (2, 3, 4):
        raise ConfigError(
            f"a frame has the shape {array.shape}; expected a picture, like (h, w, 3)"
        )
    if array.ndim == 4:
        array = array[-1]  # frames stacked in front
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[0] < min(array.shape[1:]):
        array = array.transpose(1, 2, 0)
    channels = array.shape[2]
    if channels not in (1, 3) and high == 1 and bool(((array == 0) | (array == 1)).all()):
        ranks = np.arange(1, channels + 1)
        return palette(channels)[(array * ranks).max(axis=2).astype(np.int64)]
    array = _to_bytes(array, high)
    if channels == 4 and bool((array[..., 3] == 255).all()):
        array = array[..., :3]
    elif channels % 3 == 0:
        array = array[..., -3:]
    else:
        array = array[..., -1:]
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3))).copy()


def _to_bytes(array: np.ndarray, high: float) -> np.ndarray:
    if array.dtype == np.uint8 and high != 1:
        return array
    scaled = array.astype(np.float64) * (255 if high == 1 else 1)
    if not np.isfinite(scaled).all():
        raise ConfigError(f"a frame holds numbers that are not finite; expected 0 to {high:g}")
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _leaves(space: gym.Space[Any], above: str = "") -> Iterator[tuple[str, Any]]:
    match space:
        case gym.spaces.Dict():
            items = [(str(key), item) for key, item in space.spaces.items()]
        case gym.spaces.Tuple():
            items = [(str(key), item) for key, item in enumerate(space.spaces)]
        case _:
            yield above, space
            return
    for key, item in items:
        yield from _leaves(item, f"{above}.{key}" if above else key)
