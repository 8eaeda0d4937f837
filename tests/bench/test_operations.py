"""The cost of a frame is counted and has the properties of a cost; shares add up."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from dfgym.bench import clock, operations
from dfgym.bench.shape import Shape
from dfgym.model.layers import Convolution
from dfgym.world.bundle import World
from dfgym.world.settings import Settings
from toys.world import toy_card, world_in_memory


def cost(rows: int = 1, settings: dict[str, Any] | None = None, **model: Any) -> dict[str, float]:
    """Count a step of the toy world with these dials of its network."""
    card = toy_card()
    world = world_in_memory(replace(card, model=replace(card.model, **model)))
    return operations.count(operations.begin(world, rows, Settings("cpu", **settings or {})))


def test_a_product_costs_a_multiplication_and_an_addition_for_each_pair() -> None:
    assert operations.flops(lambda: torch.ones(3, 5) @ torch.ones(5, 7)) == 2 * 3 * 5 * 7


@pytest.mark.parametrize("tokens", [4, 400])  # a linear layer, and a convolution
@pytest.mark.parametrize("size", [1, 3])
def test_a_layer_costs_its_weights_for_each_token(size: int, tokens: int) -> None:
    layer, x = Convolution(3, 5, size), torch.ones(1, tokens // 2, 2, 3)
    assert operations.flops(lambda: layer(x)) == 2 * tokens * layer.weight.numel()


def test_attention_costs_what_its_two_products_do() -> None:
    """The code sums instead; written as matrix products, torch's counter sees the same."""
    card = toy_card()
    heads, slots = card.model.heads, card.model.window + 1
    tokens = card.frames.height * card.frames.width // card.model.patch**2
    q = torch.ones(tokens, heads, 1, card.model.dim // heads)
    kv = torch.ones(tokens, heads, slots, card.model.dim // heads)
    products = operations.flops(lambda: (q @ kv.mT) @ kv)
    assert operations.attention(card) == card.model.depth * products
    assert cost()["attention_per_frame"] == cost()["passes"] * operations.attention(card)


def test_a_frame_costs_the_same_in_every_batch_and_at_every_time(world: World) -> None:
    dynamics = operations.begin(world, 3, Settings("cpu"))
    assert cost(rows=1) == operations.count(dynamics) == operations.count(dynamics)


def test_every_block_costs_the_same() -> None:
    one, two, three = (cost(depth=depth)["operations_per_frame"] for depth in (1, 2, 3))
    assert 0 < two - one == three - two


def test_every_denoising_step_costs_the_same_and_is_a_pass() -> None:
    counts = [cost(settings={"denoising_steps": n}) for n in (1, 2, 3)]
    one, two, three = (count["operations_per_frame"] for count in counts)
    assert 0 < two - one == three - two < one
    assert [count["passes"] for count in counts] == [2, 3, 4]


def test_every_context_level_is_committed_by_a_pass_and_a_kept_frame_by_none() -> None:
    dynamic = {"denoising_steps": 3, "context_mode": "dynamic", "context_noise": 0.2}
    assert cost(settings=dynamic)["passes"] == 6
    assert cost(settings={"denoising_steps": 4, "context_mode": "kept"})["passes"] == 4


def test_outcomes_and_width_cost_more_and_only_attention_costs_by_the_window() -> None:
    base = cost()
    for dials in ({"mixture": 8}, {"dim": 24, "heads": 3}):
        assert cost(**dials)["operations_per_frame"] > base["operations_per_frame"]  # type: ignore[arg-type]
    longer = cost(window=9)
    difference = longer["operations_per_frame"] - base["operations_per_frame"]
    assert difference == longer["attention_per_frame"] - base["attention_per_frame"]
    assert longer["attention_per_frame"] == 2 * base["attention_per_frame"]


def test_the_default_shape_meets_the_bar_on_operations() -> None:
    card = Shape(frame="64x64x3").card()
    assert card.model.window >= 4
    count = operations.count(operations.begin(world_in_memory(card), 1, Settings("cpu")))
    assert count["operations_per_frame"] <= 0.4e9


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_shares_of_the_time_add_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (clock, operations):  # other programs do not count
        monkeypatch.setattr(module, "timer", time.process_time)
    card = toy_card()
    heads = 2 if kind == "transformer" else 1
    world = world_in_memory(replace(card, model=replace(card.model, kind=kind, heads=heads)))  # type: ignore[arg-type]
    dynamics = operations.begin(world, 4, Settings("cpu"))
    passes, kinds = operations.passes(dynamics, 0.1), operations.kinds(dynamics)
    for shares in (passes, kinds):
        assert sum(shares.values()) == pytest.approx(1)
        assert all(0 <= share < 1 for share in shares.values())
    assert passes["denoising passes"] > passes["commit passes"] > 0  # two against one
    expected = {"space convolutions", "projections", "norms and modulation", "picture"}
    assert {*expected, "reward and termination", "outside the network's passes"} <= {*kinds}
    assert ("attention over time" in kinds) == (kind == "transformer")


def test_a_measurement_holds_together(world: World) -> None:
    rates = operations.matrix_rate(torch.device("cpu"), 64)
    assert min(rates["matrix_product"], rates["convolution"]) > 0 and rates["size"] == 64
    result = operations.measure(world, 4, 0.05, rates, settings=Settings("cpu"))
    assert result["batch"] == 4 and result["steps"] >= 1
    assert result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"]
    reached = result["frames_per_second"] * result["operations_per_frame"]
    assert result["share"] == pytest.approx(reached / rates["matrix_product"])
    assert result["share_of_best"] <= result["share"]
    assert "share" not in operations.measure(world, 1, 0.01, settings=Settings("cpu"))
