"""A small convolutional network that reads classes off stacks of frames, trained in seconds.

It is an instrument: it reads actions off transitions, and tells dreams from real play.

Legend: n examples, h w a frame, c the colours of all frames of a stack, k classes, d features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

WIDTH, FEATURES = 24, 64
LARGE, SIDE = 32, 6
"""Frames longer than the first are quartered at once, and all are halved until they are no longer
than the second."""
BATCH, RATE = 64, 2e-3
EPOCHS, LEAST_STEPS = 6, 150
"""Passes over the examples, and steps of a training at least."""
CHUNK = 512
"""Examples that are read at once."""
FLOOR = 0.05
"""Pixels that deviate less (of 1) are blown up no further."""


class SmallNetwork:
    """Convolutions that halve the frames, and two linear layers.

    Args:
        examples: uint8 `(n, h, w, c)`; frames are scaled by their pixels' means and deviations.
        classes: k.
        seed: of its weights and of its training.
    """

    def __init__(self, examples: np.ndarray, classes: int, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        pixels = examples.astype(np.float32) / 255
        self.mean = torch.from_numpy(pixels.mean(0))
        self.scale = torch.from_numpy(pixels.std(0)).clamp(min=FLOOR)
        height, width, channels = examples.shape[1:]
        self.strides = [4 if max(height, width) > LARGE else 1]
        side = np.array([height, width])
        while max(side := -(-side // self.strides[-1])) > SIDE:
            self.strides.append(2)
        shapes: list[tuple[int, ...]] = []
        for place, stride in enumerate(self.strides):
            shapes.append((WIDTH, WIDTH if place else channels, *[_kernel(stride)] * 2))
        shapes += [(FEATURES, WIDTH * int(side.prod())), (classes, FEATURES)]
        self.weights = [self._draw(shape) for shape in shapes]
        self.biases = [torch.zeros(shape[0], requires_grad=True) for shape in shapes]

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        scale = float(2 / np.prod(shape[1:])) ** 0.5
        return (scale * torch.randn(shape, generator=self._random)).requires_grad_()

    def features(self, examples: np.ndarray) -> Tensor:
        """Return what the last layer reads, float32 `(n, d)`."""
        x = (torch.from_numpy(examples).float() / 255 - self.mean) / self.scale
        x = x.movedim(-1, 1)  # n c h w
        for weight, bias, stride in zip(self.weights, self.biases, self.strides, strict=False):
            x = F.relu(F.conv2d(x, weight, bias, stride, _kernel(stride) // 2))
        return F.relu(F.linear(x.flatten(1), self.weights[-2], self.biases[-2]))

    def train(self, examples: np.ndarray, labels: np.ndarray) -> None:
        """Learn labels int `(n,)` of examples uint8 `(n, h, w, c)` by cross-entropy."""
        steps = max(LEAST_STEPS, EPOCHS * len(examples) // BATCH)
        optimizer = torch.optim.Adam([*self.weights, *self.biases], RATE)
        targets = torch.from_numpy(labels.astype(np.int64))
        for step in range(steps):
            batch = torch.randint(len(examples), (BATCH,), generator=self._random)
            logits = F.linear(self.features(examples[batch.numpy()]), self.weights[-1])
            loss = F.cross_entropy(logits + self.biases[-1], targets[batch])
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 - step / steps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def read(self, examples: np.ndarray) -> np.ndarray:
        """Return the likeliest class of each example, int64 `(n,)`."""
        with torch.no_grad():
            chunks = [
                F.linear(self.features(chunk), self.weights[-1], self.biases[-1]).argmax(1).numpy()
                for chunk in np.array_split(examples, -(-len(examples) // CHUNK))
            ]
        return np.concatenate(chunks)


def _kernel(stride: int) -> int:
    """Return a side of a kernel that misses no pixel."""
    return max(3, stride + 1)


def stack(frames: np.ndarray) -> np.ndarray:
    """Lay the frames of each stack `(n, t, h, w, 3)` behind each other, `(n, h, w, 3 t)`."""
    n, t, h, w, c = frames.shape
    return np.ascontiguousarray(np.moveaxis(frames, 1, 3)).reshape(n, h, w, t * c)
