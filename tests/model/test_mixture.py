"""A mixture of outcomes: one sample decides all cells together, with the right probabilities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dfgym.diffusion import noise
from dfgym.diffusion.corrupt import corrupt
from dfgym.diffusion.draws import Draws
from dfgym.errors import ConfigError, WorldError
from dfgym.model.config import ModelConfig
from dfgym.model.network import build
from dfgym.model.transformer import FramePrediction, Transformer
from dfgym.train.batches import Batch
from dfgym.train.loss import compute_losses, frame_loss, mixture_loss
from dfgym.world.bundle import World
from dfgym.world.card import Frames, Sampler
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from toys.world import tensors, toy_card, toy_starts, toy_weights

OUTCOMES = 3


def predict(n: int, m: int, seed: int = 0) -> FramePrediction:
    """Return a random prediction of `n` frames of 2 x 2 cells in three colours."""
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(n, m, 2, 2, 3, generator=generator)
    log_weights = torch.randn(n, m, generator=generator).log_softmax(-1)
    return FramePrediction(scores, log_weights, categorical=True)


def coloured(cells: Tensor) -> Tensor:
    """Encode frames of the colours of cells."""
    return F.one_hot(cells, 3).float() * 2 - 1


@given(st.integers(1, 5), st.integers(0, 2**31))
def test_the_loss_is_the_negative_logarithm_of_the_frames_probability(m: int, seed: int) -> None:
    """Summed up over all 81 frames of 2 x 2 cells, what it stands for is 1."""
    cells = torch.cartesian_prod(*4 * [torch.arange(3)]).view(81, 2, 2)
    prediction = predict(1, m, seed)
    loss = frame_loss(
        prediction.scores.expand(81, -1, -1, -1, -1)[None],
        prediction.log_weights.expand(81, -1)[None],
        coloured(cells)[None],
        categorical=True,
    )[0]
    torch.testing.assert_close(loss.neg().exp().sum(), torch.ones(()))
    if m == 1:
        logits = prediction.scores[0, 0].expand(81, -1, -1, -1).permute(0, 3, 1, 2)
        plain = F.cross_entropy(logits, cells, reduction="none").sum((1, 2))
        torch.testing.assert_close(loss, plain)
    mean = (loss.neg().exp()[:, None, None, None] * coloured(cells)).sum(0)
    torch.testing.assert_close(prediction.mean[0], mean, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(16, 2, heads=2, patch=2, window=4, mixture=2),
        ModelConfig(16, 2, heads=1, patch=2, window=4, mixture=2, kind="recurrent"),
        ModelConfig(16, 1, 2, 4, 4, mixture=2, kind="multiscale", fine_patch=2, fine_dim=8),
    ],
    ids=lambda model: model.kind,
)
def test_targets_and_contexts_alone_are_what_all_copies_are(model: ModelConfig) -> None:
    card = toy_card(model=model)
    network = build(card.model, card.game_spec).eval().requires_grad_(False)
    network.load_state_dict(toy_weights(card))
    actions = torch.zeros(2, 5, dtype=torch.int64)
    cells = torch.randint(0, 3, (2, 5, 8, 8), generator=torch.Generator().manual_seed(0))
    noised = corrupt(coloured(cells), actions, actions, Draws([0]), window=3)
    scores, log_weights, *transitions = tensors(network(*noised))
    expected = (scores[:, 5:], log_weights[:, 5:], *(tensor[:, :5] for tensor in transitions))
    for whole, some in zip(expected, tensors(network(*noised, targets=5)), strict=True):
        torch.testing.assert_close(whole, some, rtol=0, atol=1e-5)


def test_outcomes_are_sampled_by_their_probabilities_and_whole() -> None:
    n = 4000
    one = predict(1, OUTCOMES)
    log_weights = torch.tensor([0.5, 0.0, 0.5]).log()  # the second never
    many = FramePrediction(
        one.scores.expand(n, -1, -1, -1, -1), log_weights.expand(n, -1), categorical=True
    )
    samples = many.sample((torch.arange(n) / n).double())
    own = one.outcomes[0]
    first, second = (samples == own[0]).all((1, 2, 3)), (samples == own[2]).all((1, 2, 3))
    assert first.sum() == n // 2 and second.sum() == n // 2
    alone = predict(5, 1)
    assert torch.equal(alone.sample(torch.zeros(5)), alone.mean)
    log_weights = torch.tensor([[1 - 2**-20, 0.0, 0.0]]).log()  # rounded: they sum to less than 1
    last = FramePrediction(one.scores, log_weights, True)
    assert torch.equal(last.sample(torch.tensor([1 - 2**-24])), own[:1])


@given(st.integers(1, 5), st.integers(0, 2**31))
def test_balanced_outcomes_learn_as_if_equally_likely_and_their_odds_from_which_came_closest(
    m: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    likelihood = (3 * torch.randn(4, m, generator=generator)).requires_grad_()
    log_weights = torch.randn(4, m, generator=generator).log_softmax(-1).requires_grad_()
    plain = mixture_loss(likelihood, log_weights, balanced=False)
    balanced = mixture_loss(likelihood, log_weights, balanced=True)
    assert (balanced >= plain - 1e-5).all(), "it is a bound"
    share = likelihood.softmax(-1).detach()
    for gradient in torch.autograd.grad(balanced.sum(), (likelihood, log_weights)):
        torch.testing.assert_close(gradient, -share)
    # Where one outcome alone can have made the frame, the two are one.
    alone = torch.full((4, m), -1e4)
    alone[:, 0] = likelihood.detach()[:, 0]
    torch.testing.assert_close(
        mixture_loss(alone, log_weights, balanced=True),
        mixture_loss(alone, log_weights, balanced=False),
    )


def coins(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return frames whose two ends show one coin: tails (1) three times in four, else heads (2)."""
    side = (torch.rand(shape, generator=generator) < 0.25).long() + 1
    cells = torch.zeros(*shape, 4, 4, dtype=torch.int64)
    cells[..., 0, 0] = cells[..., 3, 3] = side
    return cells


def train_on_coins(mixture: int, steps: int) -> World:
    """Return a world of coins, trained for seconds."""
    card = toy_card(
        frames=Frames(4, 4, 1, 15, toy_card().frames.palette),
        model=ModelConfig(16, 1, heads=2, patch=2, window=2, mixture=mixture),
        sampler=Sampler(1, 1.0, "clean", 0.0),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)  # some leave the saddle, where all outcomes are one, only later
        network = build(card.model, card.game_spec)
    assert isinstance(network, Transformer)
    generator, draws = torch.Generator().manual_seed(0), Draws([1])
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2, weight_decay=0)
    b, t = 32, 4
    nothing = torch.zeros(b, t, dtype=torch.int64)
    for _ in range(steps):
        clean = coloured(coins((b, t), generator))
        noised = corrupt(clean, nothing, nothing, draws, window=2, noise_share=0.9)
        ones = torch.ones(b, t, dtype=torch.bool)
        batch = Batch(0, "videos", clean, nothing, nothing, nothing, ~ones, ones)
        optimizer.zero_grad()
        compute_losses(network, noised, batch).total.backward()
        optimizer.step()
    weights = {name: value.detach() for name, value in network.state_dict().items()}
    return World(card, "", Path(), weights, toy_starts(card))


def flips(world: World, denoising_steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the two ends show heads, `(steps, rows, 2)`, and the uncertainty."""
    rows, steps = 64, 40
    dynamics = Dynamics(world, rows, Settings("cpu", denoising_steps))
    frame = np.full((1, 4, 4, 3), world.card.frames.palette[0], np.uint8)
    past = [(frame, np.zeros(0, np.int64))] * rows
    dynamics.reset(np.arange(rows), np.arange(rows), past)
    transitions = [dynamics.step(np.zeros(rows, np.int64)) for _ in range(steps)]
    heads = np.array(world.card.frames.palette[2])
    ends = np.stack([step.frames[:, (0, 3), (0, 3)] for step in transitions])
    return (ends == heads).all(-1), np.stack([step.uncertainty for step in transitions])


@pytest.mark.slow
def test_a_coin_is_tossed_once_for_all_cells() -> None:
    world = train_on_coins(OUTCOMES, 180)
    for denoising_steps in (1, 2, 4):
        heads, uncertainty = flips(world, denoising_steps)
        assert (heads[..., 0] == heads[..., 1]).mean() > 0.99, "both ends show one coin"
        n = heads[..., 0].size
        assert abs(heads[..., 0].mean() - 0.25) < 5 * (0.25 * 0.75 / n) ** 0.5 + 0.03
        assert uncertainty[heads[..., 0]].mean() > 1.5 * uncertainty[~heads[..., 0]].mean() > 0
    plain, _ = flips(train_on_coins(1, 100))
    assert not plain.any(), "the mean of all outcomes is rounded to tails"


def test_a_row_draws_its_outcome_whatever_its_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = toy_card(model=ModelConfig(16, 1, heads=2, patch=2, window=4, mixture=OUTCOMES))
    world = World(card, "", Path(), toy_weights(card), toy_starts(card))
    past = [world.starts.episode(0)]

    def frames(seeds: list[int]) -> np.ndarray:
        dynamics = Dynamics(world, len(seeds), Settings("cpu"))
        dynamics.reset(np.arange(len(seeds)), np.array(seeds), past * len(seeds))
        return np.stack([dynamics.step(np.ones(len(seeds), np.int64)).frames for _ in range(6)])

    assert np.array_equal(frames([5, 7, 9])[:, 1], frames([8, 7, 3])[:, 1])
    frames_before = frames([5, 7])
    monkeypatch.setattr(noise, "uniform", lambda seeds, _, __, n: torch.zeros(len(seeds), n))
    assert not np.array_equal(frames([5, 7]), frames_before), "it is chance that decides"
    monkeypatch.undo()
    assert not np.array_equal(frames([5, 7])[:, 0], frames([5, 7])[:, 1])


@pytest.mark.parametrize(("mode", "draws"), [("clean", 4), ("kept", 3)])
def test_a_pass_that_is_kept_is_not_drawn_from(
    mode: str, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cache, reward and end would be those of another outcome."""
    card = toy_card(model=ModelConfig(16, 1, heads=2, patch=2, window=4, mixture=OUTCOMES))
    world = World(card, "", Path(), toy_weights(card), toy_starts(card))
    dynamics = Dynamics(world, 1, Settings("cpu", 4, mode))  # type: ignore[arg-type]
    dynamics.reset(np.arange(1), np.arange(1), [world.starts.episode(0)])
    calls, sample = [], FramePrediction.sample

    def count(prediction: FramePrediction, uniforms: Tensor) -> Tensor:
        calls.append(1)
        return sample(prediction, uniforms)

    monkeypatch.setattr(FramePrediction, "sample", count)
    dynamics.step(np.zeros(1, np.int64))
    assert len(calls) == draws


def test_a_mixture_needs_colours() -> None:
    model = ModelConfig(16, 1, heads=2, patch=2, window=4, mixture=2)
    with pytest.raises(WorldError, match=r"model.mixture is 2; expected 1 where .* no palette"):
        toy_card(model=model, frames=Frames(8, 8, 1, 15, ()))
    for mixture in (0, 65):
        with pytest.raises(ConfigError, match=rf"mixture is {mixture}; expected int"):
            replace(model, mixture=mixture)


def test_entropy_is_that_of_the_frames_that_are_drawn() -> None:
    """Outcomes that are drawn alike count as one; worked by hand."""
    scores = torch.zeros(2, 3, 1, 2, 2)
    scores[0, :, 0, 0, 0] = torch.tensor([1.0, 2.0, -1.0])  # outcomes 0 and 1 draw the same
    scores[1, :, 0, 0, 0] = 1.0
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]])
    entropy = FramePrediction(scores, weights.log(), True).entropy
    assert torch.allclose(entropy, torch.tensor([np.log(2), 0.0], dtype=torch.float64), atol=1e-6)
