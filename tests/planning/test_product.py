"""A product of worlds: that of a world and its base is the world, and what cannot be multiplied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.planning.product import ProductDream
from dfgym.world.bundle import World
from dfgym.world.card import Sampler
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from toys.world import toy_card, toy_starts, toy_weights

ROWS, CPU = 8, Settings(device="cpu")


def toy(seed: int = 0, mixture: int = 4, steps: int = 1, width: int = 16) -> World:
    card = toy_card(
        model=ModelConfig(width, 1, 2, patch=2, window=3, mixture=mixture),
        sampler=Sampler(denoising_steps=steps, shift=1.0, context_mode="clean", context_noise=0.0),
    )
    return World(card, "", Path(), toy_weights(card, seed), toy_starts(card))


@pytest.mark.parametrize("mixture", [1, 4])
def test_what_a_world_has_changed_is_multiplied_in(mixture: int) -> None:
    """base * (world / base) * (base / base) is the world, with the chance of the same seeds."""
    base, world = toy(0, mixture), toy(1, mixture)
    dream, alone = ProductDream(base, [world, base], ROWS, CPU), Dynamics(world, ROWS, CPU)
    plain = Dynamics(base, ROWS, CPU)
    frames, actions = base.starts.episode(0)
    every = np.arange(ROWS)
    for rows in (dream, alone, plain):
        rows.reset(every, every, [(frames[:3], actions[:2])] * ROWS)
    same = differs = 0.0
    for action in range(3):
        ours = dream.step(np.full(ROWS, action)).frames
        same += (ours == alone.step(np.full(ROWS, action)).frames).mean()
        differs += (ours != plain.step(np.full(ROWS, action)).frames).mean()
        for dynamics, followed in ((plain, 0), (alone, 1)):
            dynamics.set_state(every, dream.dynamics[followed].get_state(every))
    assert same / 3 > 0.999 and differs / 3 > 0.05


@pytest.mark.parametrize(
    ("base", "worlds", "words"),
    [
        ({}, (), "worlds is empty"),
        ({}, ({"width": 32},), "other model than"),
        ({"steps": 2}, ({"steps": 2},), "one denoising step"),
    ],
)
def test_what_cannot_be_multiplied_is_refused(base: Any, worlds: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ProductDream(toy(**base), [toy(**changes) for changes in worlds], 1, CPU)


def test_a_world_of_other_actions_is_refused() -> None:
    world = toy()
    other = replace(world, card=replace(world.card, frames=replace(world.card.frames, fps=7)))
    with pytest.raises(ConfigError, match="other frames than"):
        ProductDream(world, [other], 1, CPU)
