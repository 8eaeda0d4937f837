"""The network of several scales: its copies are free, its past pixels the right ones, its sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dfgym.diffusion.corrupt import corrupt, visibility
from dfgym.diffusion.draws import Draws
from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.model.multiscale import Multiscale, find_past, fold, unfold
from dfgym.model.network import build
from dfgym.train.batches import Batch
from dfgym.train.loss import compute_losses
from dfgym.world.card import Card, Frames
from toys.world import toy_card, toy_weights

SIZES = ModelConfig(
    16, 1, heads=2, patch=4, window=4, kind="multiscale", fine_patch=2, fine_dim=8, mixture=2
)
RGB = toy_card(model=replace(SIZES, mixture=1), frames=Frames(8, 8, 1, 15, ()))


def built(card: Card) -> Multiscale:
    network = build(card.model, card.game_spec)
    assert isinstance(network, Multiscale)
    return network.eval().requires_grad_(False)


def colours(*shape: int) -> Tensor:
    cells = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.one_hot(cells, 3) * 2.0 - 1


@pytest.mark.parametrize(
    "card", [toy_card(model=replace(SIZES, mixture=1)), RGB], ids=["palette", "RGB"]
)
def test_a_new_network_copies_the_frame_before(card: Card) -> None:
    network = built(card)
    clean = colours(1, 4, 8, 8)
    actions = torch.zeros(1, 4, dtype=torch.int64)
    noised = corrupt(clean, actions, actions, Draws([0]), window=4, noise_share=1, clean_share=1)
    mean = network(*noised, targets=4).prediction.mean[0]
    before = (mean - torch.cat((torch.zeros(1, 8, 8, 3), clean[0, :3]))).abs().mean((1, 2, 3))
    other = (mean[1:] - clean[0, 1:]).abs().mean((1, 2, 3))
    assert (before[1:] < 0.2).all() and (other > 0.5).all()
    level = -1 / 3 if card.game_spec.categorical else 0
    assert (mean[0] - level).abs().max() < 0.1, "nothing to copy: all colours are alike"


def test_the_past_of_every_layout_is_the_last_frames_that_are_in_sight() -> None:
    segment = torch.tensor([[0, 0, 0, 1, 1, 1]])
    time = torch.arange(6).repeat(1, 2)
    index, begun = find_past(time, visibility(segment, 4), 2)
    one, two = (torch.where(b, i, -1)[0].tolist() for i, b in zip(index, begun, strict=True))
    assert one == 2 * [-1, 0, 1, -1, 3, 4] and two == 2 * [-1, -1, 0, -1, -1, 3]
    index, begun = find_past(time, visibility(segment, 1), 2)
    assert begun[0].sum() == 8 and not begun[1].any(), "a window of one frame"
    plain = torch.ones(1, 3, 3, dtype=torch.bool)  # every frame sees all others
    index, begun = find_past(torch.tensor([[5, 6, 7]]), plain, 2)
    assert begun[:, 0].tolist() == [[False, True, True], [False, False, True]]
    assert index[0, 0, 1:].tolist() == [0, 1] and index[1, 0, 2] == 0


def test_every_weight_is_learned() -> None:
    card = toy_card(model=SIZES)
    network = built(card).requires_grad_(True)
    network.load_state_dict(toy_weights(card))
    clean, nothing = colours(2, 5, 8, 8), torch.zeros(2, 5, dtype=torch.int64)
    noised = corrupt(clean, nothing, nothing, Draws([0]), window=4, clean_share=1)
    ones = torch.ones(2, 5, dtype=torch.bool)
    batch = Batch(0, "videos", clean, nothing, nothing, nothing, ~ones, ones)
    compute_losses(network, noised, batch).total.backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_folding_is_undone_by_unfolding() -> None:
    x = torch.arange(2 * 8 * 8 * 3).view(2, 8, 8, 3)
    for patch in (1, 2, 4):
        assert torch.equal(unfold(fold(x, patch), patch), x)
    assert torch.equal(fold(x, 2)[0, 1, 2], x[0, 2:4, 4:6].flatten()), "a patch is a token"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fine_patch": 0}, "fine_patch is 0; expected 1 or more where kind is 'multiscale'"),
        ({"fine_dim": 0}, "fine_dim is 0; expected 1 or more"),
        ({"kind": "transformer"}, "fine_patch is 2; expected 0 where kind is 'transformer'"),
        ({"patch": 6, "fine_patch": 2}, "fine_patch is 2; expected 6 or 3, since patch is 6"),
        ({"fine_dim": 32}, "fine_dim is 32; expected at most dim, which is 16"),
        ({"fine_patch": 4}, "fine_dim is 8; .* equal to it where fine_patch is patch"),
    ],
)
def test_scales_that_cannot_be(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SIZES, **wrong)  # type: ignore[arg-type]


def test_scales_are_counted_from_fine_to_coarse() -> None:
    sizes = replace(SIZES, patch=8, fine_patch=1, fine_dim=6)
    assert sizes.patches == [1, 2, 4, 8] and sizes.widths == [6, 12, 16, 16]
    assert sizes.numbers(16, 8) == 128 * 6 + 32 * 12 + 8 * 16 + 2 * 16
    plain = ModelConfig(16, 1, heads=2, patch=2, window=4)
    assert plain.patches == [2] and plain.widths == [16] and plain.numbers(8, 8) == 16 * 16
