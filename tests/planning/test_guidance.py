"""Guidance against closed forms, and refused where it means nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfgym.diffusion.levels import denoising_levels
from dfgym.diffusion.sampler import sample
from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.model.transformer import FramePrediction
from dfgym.planning.guidance import Guidance, GuidedDream, extrapolate, pull
from dfgym.world.bundle import World
from dfgym.world.card import Sampler
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from toys.world import toy_card, toy_starts, toy_weights

ROWS = 3


def toy(mixture: int = 1, steps: int = 4, **training: Any) -> World:
    card = toy_card(
        model=ModelConfig(16, 2, 1, patch=2, window=3, mixture=mixture, kind="transformer"),
        sampler=Sampler(denoising_steps=steps, shift=1.0, context_mode="clean", context_noise=0.0),
        training=training,
    )
    return World(card, "", Path(), toy_weights(card), toy_starts(card))


def begin(dream: GuidedDream | Dynamics, world: World) -> None:
    frames, actions = world.starts.episode(0)
    dream.reset(np.arange(ROWS), np.arange(ROWS), [(frames[:3], actions[:2])] * ROWS)


def joint(prediction: FramePrediction) -> torch.Tensor:
    """The probability of each frame of two cells, over outcomes, `(outcome, colour, colour)`."""
    first, second = prediction.scores[0, :, 0].softmax(-1).unbind(1)
    return prediction.log_weights[0].exp()[:, None, None] * first[:, :, None] * second[:, None]


def test_colours_are_guided_to_the_closed_form() -> None:
    """Over all outcomes and pictures: p (p_full / p_less)^weight, by enumeration."""
    random = torch.Generator().manual_seed(0)

    def draw() -> FramePrediction:
        scores = torch.randn(1, 2, 1, 2, 3, generator=random, dtype=torch.float64)
        weights = torch.randn(1, 2, generator=random, dtype=torch.float64).log_softmax(-1)
        return FramePrediction(scores, weights, True)

    base, full, less = draw(), draw(), draw()
    expected = joint(base) * (joint(full) / joint(less)) ** 1.7
    guided = joint(extrapolate(base, full, less, 1.7))
    assert torch.allclose(guided, expected / expected.sum(), atol=1e-12)


def gaussian(mean: float, deviation: float) -> Any:
    """The exact estimate of Gaussian data at any signal level."""

    def denoise(x: torch.Tensor, tau: float, i: int) -> torch.Tensor:
        gain = tau * deviation**2 / (tau**2 * deviation**2 + (1 - tau) ** 2)
        return mean + gain * (x - tau * mean)

    return denoise


NOISE = torch.randn(20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_means_are_guided_to_the_closed_form() -> None:
    """Gaussians of equal variance: that of the mean m + weight (m - m_less)."""
    full, less = gaussian(1.0, 0.5), gaussian(0.4, 0.5)

    def denoise(x: torch.Tensor, tau: float, i: int) -> torch.Tensor:
        shape = (-1, 1, 1, 1, 1)
        ours, theirs = (
            FramePrediction(f(x, tau, i).view(shape), torch.zeros(len(x), 1), False)
            for f in (full, less)
        )
        return extrapolate(ours, ours, theirs, 1.5).mean.view(-1)

    frames = sample(denoise, NOISE, denoising_levels(64, 1.0))
    assert abs(frames.mean() - 1.9) < 0.02 and abs(frames.std() - 0.5) < 0.02


def test_a_pull_leads_to_the_tilted_distribution() -> None:
    """N(m, s^2) tilted by exp(weight x) is N(m + weight s^2, s^2)."""
    with torch.inference_mode():  # as a caller's may be
        denoise = pull(gaussian(0.3, 0.5), lambda clean: 2.0 * clean)
        frames = sample(denoise, NOISE, [0.01, *denoising_levels(256, 1.0)[1:]])
    assert abs(frames.mean() - (0.3 + 2 * 0.25)) < 0.02 and abs(frames.std() - 0.5) < 0.02


def test_a_little_guidance_is_almost_none() -> None:
    for world in (toy(action_dropout=0.1), toy(5, 1, action_dropout=0.1)):
        for kind in (
            {"action": 1e-6},
            {"history": 1e-6},
            {"history": 1e-6, "history_noise": 0.3},
            {"history": 1e-6, "history_frames": 1},
        ):
            guidance = Guidance(**kind)  # type: ignore[arg-type]
            guided = GuidedDream(world, ROWS, guidance, Settings(device="cpu"))
            plain = Dynamics(world, ROWS, Settings(device="cpu"))
            for dream in (guided, plain):
                begin(dream, world)
            for action in range(3):
                actions = np.full(ROWS, action)
                one, other = guided.step(actions), plain.step(actions)
                assert np.abs(one.frames.astype(int) - other.frames).max() <= 1
                assert (one.terminated == other.terminated).all()
                chances = one.termination_probability - other.termination_probability
                assert np.abs(chances).max() < 1e-3


@pytest.mark.parametrize("kind", ["action", "history"])
def test_guidance_makes_knowledge_count_more(kind: str) -> None:
    """What a frame owes to its action, or to its past, grows with the weight."""
    world, changed = toy(1, 4, action_dropout=0.1), []
    for weight in (1e-6, 4.0):
        frames = []
        guidance = Guidance(**{kind: weight})  # type: ignore[arg-type]
        for other in range(2):
            guided = GuidedDream(world, ROWS, guidance, Settings(device="cpu"))
            start, actions = world.starts.episode(0 if kind == "action" else other)
            guided.reset(np.arange(ROWS), np.arange(ROWS), [(start[:3], actions[:2])] * ROWS)
            action = other if kind == "action" else 0
            frames.append(guided.step(np.full(ROWS, action)).frames.astype(float))
        changed.append(np.abs(frames[0] - frames[1]).mean())
    assert changed[1] > 1.2 * changed[0]


def test_temporal_guidance_is_against_the_last_frames_alone() -> None:
    """By hand, in the second step: the weaker prediction is that of a dream begun one frame ago."""
    world, guidance = toy(4, 1), Guidance(history=1.5, history_frames=1)
    guided = GuidedDream(world, ROWS, guidance, Settings(device="cpu"))
    full, short = (Dynamics(world, ROWS, Settings(device="cpu")) for _ in range(2))
    actions, every = np.array([0, 1, 2]), np.arange(ROWS)
    for dream in (guided, full):
        begin(dream, world)
    frames = guided.step(actions).frames
    full.observe(actions, frames)
    short.reset(every, every, [(frame[None], actions[:0]) for frame in frames])
    start = (full.start(full.batch), 0)
    predictions = []
    for dynamics in (full, short):
        condition, batch = dynamics.condition(actions), dynamics.batch
        noisy = (*start, dynamics.position(condition, batch))
        predictions.append(dynamics.predict(condition, batch.repeat(1), None, noisy)[0])
    longer, shorter = predictions
    expected = extrapolate(longer, longer, shorter, 1.5)
    sampled = expected.sample(full.uniforms(full.batch)[:, 2])
    assert np.array_equal(guided.step(actions).frames, full.codec.round(sampled)[0].numpy())


def test_a_pull_raises_what_the_dream_expects() -> None:
    """With the same noise, the guided frame ends the game less often or pays more."""
    world, worth = toy(1, 8), []
    world.weights["head_out.weight"] *= 10  # else nothing is worth a colour
    for weight in (1e-6, 50.0):
        guided = GuidedDream(world, ROWS, Guidance(reward=weight), Settings(device="cpu"))
        begin(guided, world)
        transition = guided.step(np.zeros(ROWS, int))
        worth.append((transition.rewards - transition.termination_probability).mean())
    assert worth[1] > worth[0] + 1e-4


@pytest.mark.parametrize(
    ("world", "guidance", "settings", "text"),
    [
        ({}, {"action": 1.0}, {}, "action_dropout"),
        ({"mixture": 5, "steps": 1}, {"reward": 1.0}, {}, "setting luck"),
        ({"steps": 1}, {"reward": 1.0}, {}, "denoising_steps to 4"),
        ({}, {"history": 1.0}, {"context_mode": "kept"}, "kept"),
        ({}, {"history": 1.0, "history_frames": 3}, {}, "sees the last 3 frames"),
        ({"mixture": 5, "steps": 1}, {"history": 1.0}, {"luck": 0.5}, "luck is 0.5"),
    ],
)
def test_guidance_that_means_nothing_is_refused(
    world: Any, guidance: Any, settings: Any, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        GuidedDream(toy(**world), 1, Guidance(**guidance), Settings(device="cpu", **settings))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"action": math.nan},
        {"history": -1.0},
        {"reward": math.inf},
        {"history": 1.0, "history_frames": -1},
        {"action": 1.0, "history_frames": 1},
        {"history": 1.0, "history_frames": 1, "history_noise": 0.5},
        {"history": 1.0, "futures": 4},
        {"history": 1.0, "survival": 0.0},
        {"reward": 1.0, "futures": -1},
        {"reward": 1.0, "futures": 4, "horizon": 0},
        {"reward": 1.0, "horizon": 4},
        {"reward": 1.0, "survival": math.nan},
    ],
)
def test_guidance_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="guidance"):
        Guidance(**wrong)
