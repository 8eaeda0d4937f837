"""The embedding of actions that have parts: each counts, near values are near, none is apart."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch

from dfgym.actions import Component, discrete
from dfgym.diffusion.corrupt import corrupt
from dfgym.diffusion.draws import Draws
from dfgym.games.spaces import describe
from dfgym.model.config import ModelConfig
from dfgym.model.embedding import PartsEmbedding, make_embedding
from dfgym.model.network import build, build_empty, weight_shapes
from dfgym.train.pack import draft_actions
from toys.actions import SPACES
from toys.world import tensors, toy_card, toy_weights

KINDS = ["box", "dict", "multi-discrete", "multi-binary"]


def test_discrete_actions_are_embedded_as_ever() -> None:
    embedding = make_embedding(discrete(5).network_form, 8)
    assert isinstance(embedding, torch.nn.Embedding) and embedding.weight.shape == (6, 8)


def test_the_sum_over_parts_is_what_each_adds() -> None:
    """Changing one part moves the embedding by the same, whatever the others are."""
    torch.manual_seed(0)
    embedding = PartsEmbedding((Component.of_choices(3), Component(0, -2, 2)), 16)
    a, b, c, d = embedding(torch.tensor([[0.0, -1], [2, -1], [0, 1.5], [2, 1.5]]))
    assert torch.allclose(b - a, d - c, atol=1e-5)
    assert (b - a).abs().max() > 0.1 and (c - a).abs().max() > 0.1


def test_values_are_embedded_smoothly_and_apart() -> None:
    torch.manual_seed(0)
    embedding = PartsEmbedding((Component(0, -2, 2),), 64)
    grid = torch.linspace(-2, 2, 201)[:, None]
    embedded = embedding(grid).detach()
    assert embedded.var(0).mean() == pytest.approx(1, abs=0.6)  # as large as a choice's
    steps = (embedded[1:] - embedded[:-1]).norm(dim=1)
    assert steps.max() < 0.2 * embedded.norm(dim=1).mean()
    far = torch.cdist(embedded, embedded)
    apart = (grid - grid.T).abs() > 0.2
    assert far[apart].min() > 3 * steps.median()


def test_scale_follows_the_bounds() -> None:
    torch.manual_seed(0)
    narrow, wide = (PartsEmbedding((Component(0, -b, b),), 8) for b in (0.01, 100))
    wide.load_state_dict(narrow.state_dict())
    share = torch.linspace(-1, 1, 5)[:, None]
    assert torch.allclose(narrow(0.01 * share), wide(100 * share), atol=1e-5)


def test_no_action_is_apart_from_all(kind: str = "dict") -> None:
    space = describe(SPACES[kind], kind)
    torch.manual_seed(0)
    embedding = PartsEmbedding(space.parts, 16)
    rows = torch.from_numpy(np.stack([*space.extremes(), *space.fill(2)]))
    embedded = embedding(rows)
    assert embedded.isfinite().all() and torch.equal(embedded[-1], embedded[-2])
    assert (embedded[:-2] - embedded[-1]).norm(dim=1).min() > 0.5


def test_equal_bounds_are_no_division_by_zero() -> None:
    embedding = PartsEmbedding((Component(0, 1, 1),), 8)
    assert embedding(torch.ones(2, 1)).isfinite().all()


@pytest.mark.parametrize("architecture", ["transformer", "recurrent"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cached_step_equals_the_whole_sequence(
    kind: str, architecture: Literal["transformer", "recurrent"]
) -> None:
    """As at run time: one frame after the other, conditioned on the rows' own actions."""
    space = describe(SPACES[kind], kind)
    heads = 1 if architecture == "recurrent" else 2
    config = ModelConfig(16, 2, heads=heads, patch=2, window=4, kind=architecture)
    card = toy_card(model=config, actions=draft_actions(space, {}))
    network: Any = build(card.model, card.game_spec)
    network.load_state_dict(toy_weights(card))
    network.eval().requires_grad_(False)
    b, t, tau = 3, 5, 0.7
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(b, t, 8, 8, 3, generator=generator)
    rows = torch.from_numpy(space.sample(np.random.default_rng(0), b * t)).view(b, t, -1)
    rows[:, 0] = torch.nan
    noised = corrupt(frames, rows, torch.zeros(b, t), Draws([0]), window=4, clean_share=1.0)
    noised = noised._replace(frames=frames.repeat(1, 2, 1, 1, 1), tau=torch.full((b, 2 * t), tau))
    whole = tensors(network(*noised))
    cache = network.empty_cache(b)
    places = torch.arange(b)
    for n in range(t):
        conditioning = network.conditioning(tau, rows[:, n])
        position = network.cache_position(torch.full((b,), n))
        x = network.step(frames[:, n], conditioning, places, position, cache)
        single = (*network.predict_frame(x)[:2], *network.predict_transition(x))
        for one, all_of_them in zip(single, whole, strict=True):
            assert torch.allclose(one, all_of_them[:, n], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_known_without_weights(kind: str) -> None:
    card = toy_card(actions=draft_actions(describe(SPACES[kind], kind), {}))
    shapes = weight_shapes(card.model, card.game_spec)
    state = build(card.model, card.game_spec).state_dict()
    assert shapes == {name: tuple(value.shape) for name, value in state.items()}
    empty = build_empty(card.model, card.game_spec)
    assert all(parameter.is_meta for parameter in empty.parameters())
