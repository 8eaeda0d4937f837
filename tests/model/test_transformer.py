"""Networks with a window: cached equals recomputed, nothing looks ahead, levels are its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dfgym.diffusion.context import CONTEXT_MODES, plan_context
from dfgym.diffusion.corrupt import corrupt, visibility
from dfgym.diffusion.draws import Draws
from dfgym.diffusion.path import interpolate
from dfgym.errors import ConfigError
from dfgym.model.config import GameSpec, ModelConfig
from dfgym.model.multiscale import Multiscale
from dfgym.model.network import build
from dfgym.model.transformer import Transformer
from dfgym.train.batches import Batch
from dfgym.train.loss import compute_losses
from toys.world import tensors, toy_card, toy_weights

WINDOW = 4


SIZES = {
    "one block": ModelConfig(16, 1, heads=2, patch=2, window=WINDOW),
    "three blocks": ModelConfig(16, 3, heads=2, patch=2, window=WINDOW),
    "two scales": ModelConfig(16, 1, 2, 4, WINDOW, kind="multiscale", fine_patch=2, fine_dim=8),
    "three scales": ModelConfig(16, 2, 2, 4, WINDOW, kind="multiscale", fine_patch=1, fine_dim=6),
    "one scale": ModelConfig(16, 1, 2, 2, WINDOW, kind="multiscale", fine_patch=2, fine_dim=16),
}


@pytest.fixture(scope="module", params=SIZES)
def network(request: pytest.FixtureRequest) -> Any:
    card = toy_card(model=SIZES[request.param])
    built = build(card.model, card.game_spec)
    assert isinstance(built, Transformer | Multiscale)
    built.load_state_dict(toy_weights(card))
    return built.eval().requires_grad_(False)


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


def full(t: int) -> Tensor:
    """Return a mask by which every frame sees its window and itself."""
    index = torch.arange(t)
    age = index[:, None] - index
    return ((age >= 0) & (age <= WINDOW))[None]


@pytest.mark.parametrize("mode", CONTEXT_MODES)
def test_cached_equals_recomputed_in_every_context_mode_before_and_after_the_window_rolls(
    network: Any, mode: str
) -> None:
    """Recomputed: the whole history at once, each frame seeing its window as its cache does."""
    b, t, steps = 2, 3 * WINDOW, 3
    plan = plan_context(mode, 0.3, steps)
    clean, eps, noisy = (random(b, t, 8, 8, 3, seed=s) for s in range(3))
    actions = torch.randint(0, 3, (b, t), generator=torch.Generator().manual_seed(0))
    caches = [network.empty_cache(b) for _ in plan.levels]
    taus = [0.0, 0.3, 0.6]
    contexts = [interpolate(clean, eps, torch.tensor(applied)) for applied, _ in plan.levels]
    for n in range(t):
        position = network.cache_position(torch.full((b,), n))
        for i, tau in enumerate(taus):
            level = plan.reads[i]
            levels = torch.full((b, n + 1), plan.levels[level].stated)
            levels[:, -1] = tau
            sequence = torch.cat((contexts[level][:, :n], noisy[:, n : n + 1]), 1)
            times = torch.arange(n + 1).expand(b, -1)
            output = network(sequence, levels, actions[:, : n + 1], times, full(n + 1))
            tokens = network.step(
                noisy[:, n], network.conditioning(tau), actions[:, n], position, caches[level]
            )
            cached = (*network.predict_frame(tokens)[:2], *network.predict_transition(tokens))
            for whole, one in zip(tensors(output), cached, strict=True):
                torch.testing.assert_close(whole[:, -1], one, rtol=0, atol=3e-5)
        for context, cache, frames in zip(plan.levels, caches, contexts, strict=True):
            conditioning = network.conditioning(context.stated)
            network.step(frames[:, n], conditioning, actions[:, n], position, cache)


def test_nothing_looks_ahead_or_across_episodes_or_beyond_the_window(
    network: Any,
) -> None:
    t = 8
    frames, tau = random(1, t, 8, 8, 3), torch.rand(1, t)
    actions, time = torch.zeros(1, t, dtype=torch.int64), torch.arange(t)[None]
    before = network(frames, tau, actions, time, full(t)).prediction.scores
    changed = frames.clone()
    changed[:, 5] += 1
    after = network(changed, tau, actions, time, full(t)).prediction.scores
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5], after[:, 5]) and not torch.equal(before[:, 6], after[:, 6])

    segment = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1]])
    mask = visibility(segment, WINDOW)[0]
    n = segment.shape[1]
    context, target = mask[:n], mask[n:]
    assert not context[:, n:].any(), "contexts see contexts only"
    assert torch.equal(target[:, n:], torch.eye(n, dtype=torch.bool)), "a target sees itself"
    assert target[4, :n].nonzero().flatten().tolist() == [3]
    assert target[8, :n].nonzero().flatten().tolist() == [4, 5, 6, 7]
    assert context[8, :n].nonzero().flatten().tolist() == [4, 5, 6, 7, 8]
    assert not target[3, :n].any(), "an episode's first frame has no past"


def test_training_layout_equals_a_denoising_pass_over_committed_frames(
    network: Any,
) -> None:
    b, t = 1, 7
    generator = torch.Generator().manual_seed(3)
    clean = random(b, t, 8, 8, 3)
    actions = torch.randint(0, 3, (b, t), generator=generator)
    segment = torch.zeros(b, t)
    noised = corrupt(clean, actions, segment, Draws([0]), window=WINDOW)
    whole = network(*noised)
    cache = network.empty_cache(b)
    for n in range(t):
        position = network.cache_position(torch.full((b,), n))
        for copy in (t + n, n):  # the target, then the commit
            conditioning = network.conditioning(float(noised.tau[0, copy]))
            tokens = network.step(
                noised.frames[:, copy], conditioning, actions[:, n], position, cache
            )
            scores = network.predict_frame(tokens).scores
            torch.testing.assert_close(whole.prediction.scores[:, copy], scores, rtol=0, atol=3e-5)


def test_every_frame_has_its_own_level_and_its_action_matters(
    network: Any,
) -> None:
    frames, tau = random(1, 2, 8, 8, 3), torch.tensor([[1.0, 0.5]])
    actions, time = torch.tensor([[3, 1]]), torch.arange(2)[None]
    base = network(frames, tau, actions, time, full(2)).prediction.mean[:, 1]
    for other in (
        network(frames, torch.tensor([[0.4, 0.5]]), actions, time, full(2)),
        network(frames, torch.tensor([[1.0, 0.6]]), actions, time, full(2)),
        network(frames, tau, torch.tensor([[3, 2]]), time, full(2)),
    ):
        assert (other.prediction.mean[:, 1] - base).abs().max() > 1e-3


def test_loss_counts_known_rewards_of_little_noised_frames_only(
    network: Any,
) -> None:
    clean = torch.nn.functional.one_hot(torch.zeros(1, 3, 8, 8, dtype=torch.int64), 3) * 2.0 - 1
    nothing = torch.zeros(1, 3, dtype=torch.int64)
    noised = corrupt(clean, nothing, nothing, Draws([0]), window=WINDOW)
    tau = noised.tau.clone()
    tau[:, :3] = torch.tensor([1.0, 0.5, 1.0])
    noised = noised._replace(tau=tau)
    valid = torch.tensor([[False, True, True]])

    def heads(rewards: list[int], ends: list[bool]) -> tuple[float, float]:
        truth = torch.tensor([rewards]), torch.tensor([ends])
        batch = Batch(0, "videos", clean, nothing, nothing, *truth, valid)
        losses = compute_losses(network, noised, batch)
        return losses.reward.item(), losses.termination.item()

    base = heads([0, 0, 0], [False] * 3)
    assert heads([1, 1, 0], [True, True, False]) == base, "unknown, or too noisy"
    changed = heads([0, 0, 1], [False, False, True])
    assert changed[0] != base[0] and changed[1] != base[1]


def test_ends_count_as_often_as_their_weight_says(network: Any) -> None:
    clean = torch.nn.functional.one_hot(torch.zeros(1, 4, 8, 8, dtype=torch.int64), 3) * 2.0 - 1
    nothing = torch.zeros(1, 4, dtype=torch.int64)
    noised = corrupt(clean, nothing, nothing, Draws([0]), window=WINDOW, clean_share=1.0)
    # No action led to the first frame, so its end counts nothing.
    ends, valid = torch.tensor([[True, False, True, False]]), torch.tensor([[False] + [True] * 3])
    batch = Batch(0, "videos", clean, nothing, nothing, torch.tensor([[0, 1, 1, 0]]), ends, valid)

    def losses(weight: float) -> torch.Tensor:
        return torch.stack(compute_losses(network, noised, batch._replace(end_weight=weight)))

    once, more, none = losses(1), losses(5), losses(0)
    assert torch.equal(losses(1.0), torch.stack(compute_losses(network, noised, batch)))
    assert once[0] == more[0], "what frames show is not weighted"
    assert ((more - once)[1:] > 0.1).all()
    torch.testing.assert_close((more - none)[1:], 5 * (once - none)[1:])


@pytest.mark.parametrize("wrong", [{"patch": 3}, {"dim": 18, "heads": 4}, {"dim": 6, "heads": 2}])
def test_sizes_that_cannot_be_built(wrong: dict[str, int]) -> None:
    game = GameSpec(height=8, width=8, channels=3, categorical=True, actions=3, rewards=2)
    sizes = {"dim": 16, "depth": 1, "heads": 2, "patch": 2, "window": 2, **wrong}
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is .*; expected"):
        build(ModelConfig(**sizes), game)  # type: ignore[arg-type]
