"""The luck dial: the tilted distribution in closed form, in the dream, and where it is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.world import bundle, luck
from dfgym.world.bundle import World
from dfgym.world.card import Card, Sampler
from dfgym.world.dynamics import Dynamics
from dfgym.world.luck import tilt
from dfgym.world.settings import Settings
from toys.world import toy_card, toy_starts, toy_weights


def lucky_card(mixture: int = 4) -> Card:
    return toy_card(
        model=ModelConfig(16, 1, 2, patch=2, window=4, mixture=mixture),
        sampler=Sampler(denoising_steps=1, shift=1.0, context_mode="clean", context_noise=0.0),
    )


def begin(rows: int, dial: float) -> Dynamics:
    card = lucky_card()
    world = World(card, "", Path(), toy_weights(card), toy_starts(card))
    run = Dynamics(world, rows, Settings(device="cpu", luck=dial))
    frames, actions = world.starts.episode(0)
    run.reset(np.arange(rows), np.arange(rows) + 3, [(frames[:2], actions[:1])] * rows)
    return run


@given(
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    st.lists(st.floats(-5, 5), min_size=3, max_size=3),
    st.floats(-3, 3),
)
def test_tilting_is_the_closed_form(raw: list[float], values: list[float], dial: float) -> None:
    weights, v = np.array([raw]) / np.sum(raw), np.array([values])
    tilted, divergence = tilt(weights, v, dial)
    exact = weights * np.exp(dial * v)
    normaliser = exact.sum()
    assert np.allclose(tilted, exact / normaliser, rtol=1e-9)
    assert np.allclose(divergence, dial * (tilted * v).sum() - np.log(normaliser), atol=1e-9)
    assert divergence[0] >= 0
    mean, before = (tilted * v).sum(), (weights * v).sum()
    assert (mean - before) * dial >= -1e-9  # above 0 kinder, below 0 harsher
    zero, nothing = tilt(weights, v, 0)
    assert np.allclose(zero, weights) and np.allclose(nothing, 0)
    certain, still = tilt(np.array([[1.0, 0.0]]), np.array([[2.0, 9.0]]), dial)
    assert certain.tolist() == [[1, 0]] and still[0] == 0


@pytest.mark.parametrize("dial", [-2.0, 3.0])
def test_steps_draw_by_the_tilted_distribution(
    dial: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With values that are known, the frequencies of `step` are those of the closed form."""
    rows = 600

    def fixed(dynamics: Any, conditions: Any, clean: Any, batch: Any) -> np.ndarray:
        return clean.mean((1, 2, 3)).numpy().astype(float) * 3 + clean[:, 0, 0, 0].numpy()

    monkeypatch.setattr(luck, "value", fixed)
    run = begin(rows, dial)
    actions = np.zeros(rows, np.int64)
    outcomes = run.outcomes(actions)
    clean = run.codec.encode(torch.from_numpy(outcomes.frames)).numpy()
    values = clean.mean((2, 3, 4)) * 3 + clean[:, :, 0, 0, 0]
    exact = outcomes.probabilities * np.exp(dial * values)
    exact /= exact.sum(1, keepdims=True)
    likeliest = exact.argmax(1)
    best = outcomes.frames[np.arange(rows), likeliest]
    alike = (outcomes.frames == best[:, None]).all((2, 3, 4))
    expected = (exact * alike).sum(1)
    transition = run.step(actions)
    came = (transition.frames == best).all((1, 2, 3)).sum()
    assert abs(came - expected.sum()) < 4 * np.sqrt((expected * (1 - expected)).sum()) + 1
    plain = (outcomes.probabilities * alike).sum()
    assert abs(plain - expected.sum()) > 20  # it is not what would have come without luck
    assert transition.luck_divergence is not None
    assert (transition.luck_divergence >= 0).all() and transition.luck_divergence.max() > 0.01


def test_outcomes_are_worth_what_a_judge_says_of_their_frames() -> None:
    """The reward on arrival, and the judge's value where the game goes on: in closed form."""
    rows, dial = 16, 2.0

    def judge(frames: np.ndarray) -> np.ndarray:
        return np.asarray(np.sin(frames.reshape(len(frames), -1).astype(float).sum(1)))

    run = begin(rows, dial)
    run.judge = judge
    actions = np.zeros(rows, np.int64)
    outcomes = run.outcomes(actions)
    judged = judge(outcomes.frames.reshape(-1, *outcomes.frames.shape[2:])).reshape(rows, -1)
    values = outcomes.rewards + luck.DISCOUNT * (1 - outcomes.termination_probability) * judged
    _, expected = tilt(outcomes.probabilities, values, dial)
    divergence = run.step(actions).luck_divergence
    assert divergence is not None and np.allclose(divergence, expected, atol=1e-3)
    assert expected.mean() > 0.05


def test_luck_moves_what_dreams_bring_to_its_side() -> None:
    totals = []
    for dial in (-8.0, 0.0, 8.0):
        run, total = begin(32, dial), 0.0
        alive = np.ones(32)
        for step in range(6):
            transition = run.step(np.full(32, step % 3))
            total += float((alive * transition.rewards).sum())
            alive *= ~transition.terminated
        totals.append(total + alive.sum())
    assert totals[0] < totals[2]


def test_a_lucky_dream_replays_and_says_how_far_it_is_bent(tmp_path: Path) -> None:
    path = tmp_path / "toy-random-v0"
    card = lucky_card()
    bundle.write(path, card, toy_weights(card), toy_starts(card))
    lives = []
    for _ in range(2):
        env = DreamEnv(str(path), luck=-0.5)
        env.reset(seed=4)
        lives.append([env.step(action) for action in (0, 1)])
    for first, second in zip(*lives, strict=True):
        assert np.array_equal(first[0], second[0]) and first[1:] == second[1:]
        assert first[4]["luck_divergence"] >= 0
    batch = DreamVectorEnv(2, world=str(path), luck=-0.5)
    batch.reset(seed=4)
    infos = batch.step(np.array([0, 1]))[4]
    assert np.isclose(infos["luck_divergence"][0], lives[0][0][4]["luck_divergence"], atol=1e-4)
    env = DreamEnv(str(path))
    env.reset(seed=4)
    assert "luck_divergence" not in env.step(0)[4]


def test_luck_is_refused_where_it_means_nothing() -> None:
    for dial in (float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="luck"):
            Settings(luck=dial)
    with pytest.raises(ConfigError, match="compile"):
        Settings(luck=1.0, compile=True)
    for card, settings, why in (
        (lucky_card(mixture=1), Settings(device="cpu", luck=1.0), "tells no outcomes apart"),
        (
            lucky_card(),
            Settings(device="cpu", luck=1.0, denoising_steps=2),
            "set denoising_steps to 1",
        ),
    ):
        world = World(card, "", Path(), toy_weights(card), toy_starts(card))
        with pytest.raises(ConfigError, match=why):
            Dynamics(world, 1, settings)
        Dynamics(world, 1, dataclasses.replace(settings, luck=0.0))
