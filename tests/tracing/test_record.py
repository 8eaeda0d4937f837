"""A recorded computation, run by onnxruntime, gives what PyTorch gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dfgym.diffusion import noise
from dfgym.errors import ConfigError
from dfgym.frames import Codec
from dfgym.model.layers import apply_rope, rotary
from dfgym.tracing.record import record
from dfgym.world.onnx import open_session

PALETTE = ((0, 0, 0), (200, 40, 40), (250, 250, 250))


COLOURS = torch.tensor([[[200, 40, 40]], [[9, 0, 0]]], dtype=torch.uint8)
KERNEL, BIAS = torch.linspace(-1, 1, 54).view(2, 3, 3, 3), torch.tensor([0.5, -2.0])


def compare(compute: Callable[..., Tensor], *inputs: Tensor, tolerance: float = 0.0) -> None:
    """Record a computation with zeros, run it with the inputs, and compare it with PyTorch."""
    examples = {f"x{i}": torch.zeros_like(tensor) for i, tensor in enumerate(inputs)}
    session = open_session(record(lambda *x: {"y": compute(*x)}, examples, "a test"))
    feed = {f"x{i}": tensor.numpy() for i, tensor in enumerate(inputs)}
    (actual,) = session.run(None, feed)
    expected = compute(*(tensor.clone() for tensor in inputs)).numpy()
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def test_the_noise_is_the_same_hash() -> None:
    """All 64 bits of it, of seeds of either sign."""
    extremes = [0, 1, -1, 2**63 - 1, -(2**63), 123_456_789_012_345]
    seeds, counters = torch.tensor(extremes), torch.tensor([0, 1, 2, 10**6, 7, 2**40])
    compare(lambda s, t: noise._bits(s, t, noise.HEADS, 5), seeds, counters)
    compare(lambda s, t: noise.uniform(s, t, noise.FRAME, 5), seeds, counters)
    compare(lambda s, t: noise.normal(s, t, noise.FRAME, 5), seeds, counters, tolerance=1e-5)


def write_in_place(x: Tensor, y: Tensor) -> Tensor:
    before = x.sum(1)
    x[torch.arange(3), torch.tensor([1, 0, 1])] = y
    return x.sum(1) - before


def follow_actions(x: Tensor, action: Tensor) -> Tensor:
    """As conditions are looked up: a table of constants, by an input."""
    return torch.arange(12.0).view(4, 3)[action] * x


@pytest.mark.parametrize(
    "compute, inputs",
    [
        (write_in_place, (normal(3, 2, 4), normal(3, 4))),
        (follow_actions, (normal(2, 3), torch.tensor([3, 1]))),
        (lambda x: F.layer_norm(x, x.shape[-1:]), (normal(2, 8),)),
        (lambda x: x.softmax(1), (normal(2, 8, 3),)),
        (lambda x: F.conv2d(x, KERNEL, BIAS, padding=1), (normal(1, 3, 5, 5),)),
        (lambda x: F.conv2d(x, KERNEL[..., :1, :1], BIAS), (normal(1, 3, 5, 5),)),
        (lambda x: apply_rope(x, rotary(torch.tensor([[5]]), 4)), (normal(1, 1, 3, 2, 2, 4),)),
        (lambda x: Codec(PALETTE).round(x)[1], (normal(4, 4, 3),)),
        (lambda x: Codec().round(x)[0], (normal(4, 4, 3),)),
        (lambda x: Codec(PALETTE).encode(x), (COLOURS,)),
        (lambda x: x.max(1).values - x.max(-1).indices[:, :1], (normal(2, 3, 3),)),
        (lambda x: (x >> 3) + x % 7, (torch.tensor([-(2**62), -1, 0, 5, 2**50]),)),
        (lambda x: torch.where(x > 0, x, -1.0).chunk(2, 1)[1], (normal(3, 6),)),
        (lambda x: torch.stack(x.unbind(1), -1)[..., 1:].square().mean((0, 1)), (normal(3, 2, 4),)),
        (lambda x: (x > 0).all(-1), (normal(3, 2),)),
    ],
)  # fmt: skip
def test_operators(compute: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    compare(compute, *inputs, tolerance=1e-6)


def test_what_depends_on_no_input_is_a_constant() -> None:
    """However much work it is, it is no node of the graph."""
    import onnx

    model = record(
        lambda x: {"y": x + torch.linalg.inv(torch.eye(3) * 2).exp()}, {"x": normal(3, 3)}, "a test"
    )
    assert [node.op_type for node in onnx.load_from_string(model).graph.node] == ["Add", "Identity"]


def test_it_refuses_what_it_cannot_write() -> None:
    with pytest.raises(ConfigError, match=r"linalg_inv.*cannot write as ONNX"):
        record(lambda x: {"y": torch.linalg.inv(x)}, {"x": torch.eye(3)}, "a test")
    with pytest.raises(ConfigError, match="depends on no input"):
        record(lambda x: {"y": torch.ones(3)}, {"x": torch.eye(3)}, "a test")
