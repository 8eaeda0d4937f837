"""What the tests of the bench share."""

from __future__ import annotations

import pytest

from dfgym.bench import operations
from dfgym.world.bundle import World
from toys.world import toy_card, world_in_memory


@pytest.fixture(scope="session")
def world() -> World:
    """The toy world, in memory alone."""
    return world_in_memory(toy_card())


@pytest.fixture(autouse=True)
def small_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the machine by a small product."""
    monkeypatch.setitem(operations.MATRIX, "cpu", 64)
