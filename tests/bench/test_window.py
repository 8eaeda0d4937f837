"""The cached and the recomputed way make the same frame, and the cached one costs less."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfgym.bench import operations, window
from dfgym.model.transformer import Transformer
from dfgym.world.bundle import World
from dfgym.world.settings import Settings


def test_both_ways_make_the_same_frame(world: World) -> None:
    cached, recomputed = (way() for way in window.ways(world, 3, Settings("cpu", 4)))
    for one, other in zip(cached, recomputed, strict=True):
        assert one.shape[0] == 3 and one.std() > 0
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(cached[0][0], cached[0][1])  # rows have noise of their own


def test_the_whole_window_costs_about_a_frame_for_each_of_its_frames(world: World) -> None:
    result = window.compare(world, 2, 0.01, Settings("cpu"))
    assert result["largest_difference"] < 1e-5
    assert result["ratio"] == pytest.approx(result["recomputed_ms"] / result["cached_ms"])
    slots = world.card.model.window + 1
    ratio = result["recomputed_operations"] / result["cached_operations"]
    assert 0.95 * slots < ratio < 1.4 * slots  # the whole window's outcome is read in every pass
    counted = operations.count(operations.begin(world, 2, Settings("cpu")))["operations_per_frame"]
    assert result["cached_operations"] == counted


def test_a_cache_that_forgets_the_past_makes_another_frame(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The difference is not small because the past does not matter."""
    position = Transformer.cache_position

    def at_the_beginning(self: Transformer, time: Tensor) -> object:
        return position(self, time * 0)

    monkeypatch.setattr(Transformer, "cache_position", at_the_beginning)
    assert window.compare(world, 1, 0.01, Settings("cpu"))["largest_difference"] > 1e-4
