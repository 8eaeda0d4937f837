"""What a frame costs is counted, by torch and by hand; of times only shares and sums matter."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dfgym.bench import operations, shape, speed
from dfgym.bench import window as cached
from dfgym.bench.shape import Shape
from dfgym.frames import upscale
from dfgym.model import Recurrent, Transformer
from dfgym.world.bundle import World
from dfgym.world.card import Card
from dfgym.world.dynamics import Dynamics
from toys.world import toy_card


def world_of(card: Card) -> World:
    """A world in memory alone."""
    return World(card, "0" * 64, Path("/nowhere"), shape.weights(card), shape.starts(card))


@pytest.fixture(scope="module")
def world() -> World:
    return world_of(toy_card())


def by_hand(card: Card, steps: int, commits: int) -> int:
    """Multiplications and additions of a frame in a small transformer, layer by layer."""
    model = card.model
    d, tokens = model.dim, card.frames.height * card.frames.width // model.patch**2
    cell = model.patch**2 * (len(card.frames.palette) or 3)
    space = 9 * d * d + d * d  # 3 x 3, then 1 x 1
    time = 3 * d * d + d * d
    each = 2 * d * d + 2 * d * d
    block = tokens * (space + time + each) + d * d  # the mean over all tokens has one product
    block += 2 * tokens * (model.window + 1) * d  # keys, values
    one_pass = tokens * cell * d + model.depth * block
    picture = tokens * d * cell
    if model.mixture > 1:
        picture += model.mixture * (picture + d)
    outcome = tokens * d * d + d * (len(card.rewards.values) + 1)
    return 2 * ((steps + commits) * one_pass + steps * picture + outcome)


@pytest.mark.parametrize(
    ("changes", "settings", "steps", "commits"),
    [
        ({}, {}, 2, 1),
        ({}, {"denoising_steps": 5}, 5, 1),
        ({"mixture": 8}, {}, 2, 1),
        ({"depth": 3, "dim": 24, "heads": 3, "patch": 4}, {"denoising_steps": 1}, 1, 1),
        (
            {"window": 7},
            {"denoising_steps": 3, "context_mode": "dynamic", "context_noise": 0.2},
            3,
            3,
        ),
    ],
)
@pytest.mark.parametrize("rows", [1, 3])
def test_operations_are_those_counted_by_hand(
    changes: dict[str, int], settings: dict[str, object], steps: int, commits: int, rows: int
) -> None:
    base = toy_card()
    world = world_of(replace(base, model=replace(base.model, **changes)))  # type: ignore[arg-type]
    dynamics = operations.begin(world, rows, "cpu", **settings)
    for _ in range(2):  # the count does not depend on how far the rows are
        found = operations.count(dynamics)
        assert found["operations_per_frame"] == by_hand(world.card, steps, commits)
        assert found["passes"] == steps + commits


def test_a_plain_picture_costs_three_channels() -> None:
    card = Shape(frame="16x8x3", patch=4, dim=16, heads=2, depth=1).card()
    steps = card.sampler.denoising_steps
    found = operations.count(operations.begin(world_of(card), 2, "cpu"))
    assert found["operations_per_frame"] == by_hand(card, steps, 1)


def test_the_default_shape_meets_the_bar_on_operations() -> None:
    card = Shape(frame="64x64x3").card()
    assert card.model.window >= 4
    found = operations.count(operations.begin(world_of(card), 1, "cpu"))
    assert found["operations_per_frame"] <= 0.4e9


def test_flops_of_a_product() -> None:
    assert operations.flops(lambda: torch.ones(3, 5) @ torch.ones(5, 7)) == 2 * 3 * 5 * 7


def test_both_ways_make_the_same_frame_and_the_cached_one_costs_less(world: World) -> None:
    made = [way() for way in cached.ways(world, 3, "cpu", 4)]
    for one, other in zip(*made, strict=True):
        assert one.shape[0] == 3 and one.std() > 0
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(made[0][0][0], made[0][0][1])  # rows have noise of their own
    found = cached.compare(world, 2, 0.01, "cpu")
    assert found["largest_difference"] < 1e-5
    assert found["ratio"] == pytest.approx(found["recomputed_ms"] / found["cached_ms"])
    slots = world.card.model.window + 1
    ratio = found["recomputed_operations"] / found["cached_operations"]
    assert 0.95 * slots < ratio < 1.4 * slots  # the whole window's outcome is read in every pass
    counted = operations.count(operations.begin(world, 2, "cpu"))["operations_per_frame"]
    assert found["cached_operations"] == counted


def test_a_cache_that_forgets_is_found_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference is not small because the past does not matter."""
    now = Transformer.now
    monkeypatch.setattr(Transformer, "now", lambda self, time: now(self, time * 0))
    assert cached.compare(world, 1, 0.01, "cpu")["largest_difference"] > 1e-4


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_where_the_time_goes_adds_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", time.process_time)  # other programs do not count
    base = toy_card()
    heads = 2 if kind == "transformer" else 1
    card = replace(base, model=replace(base.model, kind=kind, heads=heads))
    dynamics = operations.begin(world_of(card), 4, "cpu")
    owner = {"transformer": Transformer, "recurrent": Recurrent}[kind]
    methods = [getattr(owner, name) for name in speed.NETWORK]
    shares, kinds = operations.passes(dynamics, 0.1), operations.kinds(dynamics)
    assert [getattr(owner, name) for name in speed.NETWORK] == methods  # left as they were
    for found in (shares, kinds):
        assert sum(found.values()) == pytest.approx(1)
        assert all(0 <= share < 1 for share in found.values())
    assert shares["denoising passes"] > shares["commit passes"] > 0  # two against one
    expected = {"space convolutions", "projections", "norms and modulation", "picture"}
    assert {*expected, "reward and termination", "outside the network's passes"} <= {*kinds}
    assert ("attention over time" in kinds) == (kind == "transformer")


def test_a_measurement_holds_together(world: World) -> None:
    rates = operations.matrix_rate(torch.device("cpu"), 64)
    assert min(rates["matrix_product"], rates["convolution"]) > 0 and rates["size"] == 64
    found = operations.measure(operations.begin(world, 4, "cpu"), 0.05, rates)
    assert found["batch"] == 4 and found["steps"] >= 1
    assert found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]
    reached = found["frames_per_second"] * found["operations_per_frame"]
    assert found["share"] == pytest.approx(reached / rates["matrix_product"])
    assert found["share_of_best"] <= found["share"]
    assert "share" not in operations.measure(operations.begin(world, 1, "cpu"), 0.01)


def test_shells_are_timed_against_the_dynamics_below(
    random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each shell's own time is told from the dynamics': a shell that dawdles is seen."""
    step = Dynamics.step
    found = speed.shells(random_world, 4, 0.05, "cpu")
    assert Dynamics.step is step
    assert [*found] == ["env", "vector", "sb3"] and min(found.values()) > 0
    monkeypatch.setattr("dfgym.env.rows.upscale", _dawdle)
    slow = speed.shells(random_world, 4, 0.05, "cpu")
    assert all(slow[name] > 2 * found[name] for name in ("env", "vector"))


def _dawdle(frames: np.ndarray, scale: int) -> np.ndarray:
    time.sleep(0.05)
    return upscale(frames, scale)
