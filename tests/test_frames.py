"""The codec: every recorded frame is a fixed point, in every number format it may be held in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfgym.frames import Codec, downscale, upscale
from toys.world import PALETTE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_all_256_levels_are_fixed_points(dtype: torch.dtype) -> None:
    levels = torch.arange(256, dtype=torch.uint8).repeat_interleave(3).view(1, 16, 16, 3)
    codec = Codec()
    encoded = codec.encode(levels)
    assert encoded.min() == -1 and encoded.max() == 1
    assert torch.equal(codec.decode(encoded.to(dtype)), levels)


def test_decoding_rounds_and_clamps() -> None:
    x = torch.tensor([-3.0, -1.0 + 0.6 / 127.5, 3.0]).view(1, 1, 3)
    assert Codec().decode(x).flatten().tolist() == [0, 1, 255]


def test_palette_colours_are_fixed_points_and_others_go_to_the_nearest() -> None:
    codec = Codec(PALETTE)
    frame = torch.tensor(PALETTE, dtype=torch.uint8).view(1, 3, 3)
    encoded = codec.encode(frame)
    assert encoded.shape == (1, 3, 3) and set(encoded.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(codec.decode(encoded), frame)
    assert torch.equal(codec.decode(encoded + 0.9 * torch.rand(1, 3, 3)), frame)
    off = torch.tensor([[[190, 50, 30], [10, 0, 9], [255, 255, 255]]], dtype=torch.uint8)
    assert codec.index(off).flatten().tolist() == [1, 0, 2]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_upscaling_is_undone(scale: int, height: int, width: int, seed: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), np.uint8)
    large = upscale(frames, scale)
    assert large.shape == (2, height * scale, width * scale, 3) and large.flags.c_contiguous
    assert not np.shares_memory(large, frames)
    assert np.array_equal(downscale(large, scale), frames)
    assert not np.shares_memory(downscale(large, scale), large)
