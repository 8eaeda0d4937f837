"""What a batch needs: the estimate against what torch really allocates, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dfgym.bench import operations, shape
from dfgym.bench import window as cached
from dfgym.bench.shape import Shape
from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.model.network import build_empty
from dfgym.world import runtime
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from toys.memory import peak
from toys.world import toy_card, world_in_memory

CARDS = {
    "palette": toy_card(),
    "long": replace(toy_card(), model=replace(toy_card().model, window=64)),
    "wide": replace(toy_card(), model=replace(toy_card().model, dim=256, depth=2)),
    "mixture": replace(toy_card(), model=replace(toy_card().model, mixture=8)),
    "default": Shape(frame="64x64x3").card(),
    "fine": Shape(frame="32x32x3", patch=2, dim=32, heads=2, depth=1).card(),
    "scales": replace(
        toy_card(),
        model=ModelConfig(
            16, 1, heads=2, patch=4, window=4, kind="multiscale", fine_patch=1, fine_dim=8
        ),
    ),
    "coarse": Shape(frame="64x64x3", patch=16, dim=16, heads=2, depth=1).card(),
}


@pytest.mark.parametrize("name", CARDS)
def test_the_estimate_covers_what_torch_allocates_and_is_not_far_off(name: str) -> None:
    card, rows = CARDS[name], 16
    world = world_in_memory(card)
    dynamics = operations.begin(world, rows, Settings("cpu"))
    rings = 2 * 4 * rows * card.model.depth * (card.model.window + 1)
    rings *= card.frames.height * card.frames.width // card.model.patch**2 * card.model.dim
    stepped = rings + peak(operations.stepper(dynamics))
    assert stepped < rows * runtime.row_bytes(card, 1) < 3 * stepped
    if card.model.kind != "transformer":
        return  # the window again is of transformers alone
    again = peak(cached.ways(world, rows, Settings("cpu"))[1])
    assert (
        rings + again
        < rows * runtime.row_bytes(card, 1, card.model.window + 1)
        < 5 * (rings + again)  # a picture of every frame is counted, and only the last one made
    )


def test_what_fits_is_said_to_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    card, device = toy_card(), torch.device("cpu")
    row = runtime.row_bytes(card, 1)
    weights = sum(4 * value.numel() for value in shape.weights(card).values())
    monkeypatch.setattr(runtime, "available_bytes", lambda device: weights + 10 * row)
    runtime.check_memory(card, 10, 1, device)
    with pytest.raises(ConfigError, match=r"a batch of 11 .* largest .* would fit is 10"):
        runtime.check_memory(card, 11, 1, device)
    monkeypatch.setattr(runtime, "available_bytes", lambda device: weights)
    with pytest.raises(ConfigError, match="not even a batch of 1"):
        runtime.check_memory(card, 1, 1, device)


@pytest.mark.parametrize("rows", [1, 2])
def test_rows_that_do_not_fit_are_refused_before_anything_is_allocated(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    world = world_in_memory(toy_card())
    monkeypatch.setattr(runtime, "available_bytes", lambda device: 1000)
    monkeypatch.setattr(Dynamics, "_empty_caches", lambda *_: pytest.fail("allocated"))
    with pytest.raises(ConfigError, match="not even a batch of 1 would fit: take a world"):
        Dynamics(world, rows, Settings("cpu"))


@pytest.mark.parametrize("kind", ["transformer", "recurrent", "multiscale"])
@pytest.mark.parametrize("window", [1, 5])
def test_the_size_of_a_cache_is_what_the_network_keeps(kind: Any, window: int) -> None:
    fine: dict[str, Any] = {"fine_patch": 1, "fine_dim": 4} if kind == "multiscale" else {}
    config = ModelConfig(dim=8, depth=3, heads=1, patch=2, window=window, kind=kind, **fine)
    game = toy_card().game_spec
    cache = build_empty(config, game).empty_cache(1, "meta")
    assert config.cache_size(game) == sum(tensor.numel() for layer in cache for tensor in layer)


def test_rings_count_for_every_context_level() -> None:
    card = toy_card()
    rings = 2 * 4 * (card.model.window + 1) * 16 * card.model.dim  # keys and values, float32
    assert runtime.row_bytes(card, 3) - runtime.row_bytes(card, 1) == 2 * rings


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device, limit = torch.device("cpu"), tmp_path / "memory.max"
    monkeypatch.setattr(runtime, "CONTAINER_LIMIT", limit)
    whole = runtime.available_bytes(device)
    assert whole > 2**20
    for text, expected in (("1000\n", 1000), ("max\n", None)):
        limit.write_text(text)
        available = runtime.available_bytes(device)
        assert available == expected if expected else available > 2**20
