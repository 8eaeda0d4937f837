"""Environments that follow a game played elsewhere, and say what may happen next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import ActionError, ConfigError, StateError
from dfgym.model.config import ModelConfig
from dfgym.world import bundle
from dfgym.world.card import Episode, Sampler
from toys.world import toy_card, toy_starts, toy_weights

LIMIT = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of four outcomes whose episodes end after three steps."""
    path = tmp_path_factory.mktemp("shelf") / "toy-random-v0"
    card = toy_card(
        model=ModelConfig(dim=16, depth=1, heads=2, patch=2, window=4, mixture=4),
        sampler=Sampler(denoising_steps=1, shift=1.0, context_mode="clean", context_noise=0.0),
        episode=Episode(max_steps=LIMIT),
    )
    bundle.write(path, card, toy_weights(card), toy_starts(card))
    return path


def test_a_followed_dream_stands_where_a_reset_would(world: Path) -> None:
    frames, actions = toy_starts(toy_card()).episode(2)
    env, other = DreamEnv(str(world)), DreamEnv(str(world))
    env.reset(seed=1, options={"frames": frames[:1]})
    for t in (1, 2):
        observation, reward, terminated, truncated, info = env.observe(actions[t - 1], frames[t])
        assert observation.shape == env.observation_space.shape
        assert np.array_equal(observation[::5, ::5], frames[t])
        assert type(reward) is float and terminated is truncated is False
        assert set(info) == {"termination_probability"}
    other.reset(seed=1, options={"frames": frames[:3], "actions": actions[:2]})
    assert np.array_equal(env.step(1)[0], other.step(1)[0])


def test_observation_size_is_taken_too(world: Path) -> None:
    env = DreamEnv(str(world))
    observation, _ = env.reset(seed=0)
    assert np.array_equal(env.observe(0, observation)[0], observation)


def test_a_batch_follows_as_single_environments_do(world: Path) -> None:
    batch, single = DreamVectorEnv(2, world=str(world)), DreamEnv(str(world))
    observations, _ = batch.reset(seed=4)
    followed = batch.observe(np.array([1, 2]), observations[::-1].copy())
    assert followed[4]["_termination_probability"].all()
    single.reset(seed=5)
    alone = single.observe(2, observations[0])
    assert np.array_equal(followed[0][1], alone[0])
    assert np.isclose(followed[1][1], alone[1], atol=1e-6)


@pytest.mark.parametrize(
    ("action", "frame", "error", "text"),
    [
        (3, np.zeros((8, 8, 3), np.uint8), ActionError, "out of range"),
        (0, np.zeros((8, 8, 3), np.float32), ConfigError, "float32"),
        (0, np.zeros((8, 7, 3), np.uint8), ConfigError, r"\(1, 8, 7, 3\)"),
        (0, np.zeros((1, 8, 8, 3), np.uint8), ConfigError, "shape"),
        (0, "frame", ConfigError, "str"),
        (0, np.arange(40 * 40 * 3).reshape(40, 40, 3).astype(np.uint8), ConfigError, "5x5"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_changes_nothing(
    world: Path, action: Any, frame: Any, error: type[Exception], text: str
) -> None:
    env = DreamEnv(str(world))
    env.reset(seed=0)
    state = env.clone_state()
    with pytest.raises(error, match=text):
        env.observe(action, frame)
    assert env.clone_state() == state


def test_calls_at_the_wrong_time_are_refused(world: Path) -> None:
    env, batch = DreamEnv(str(world)), DreamVectorEnv(2, world=str(world))
    frame = np.zeros((8, 8, 3), np.uint8)
    for call in (
        lambda: env.observe(0, frame),
        lambda: env.outcomes(0),
        lambda: batch.observe(np.zeros(2, int), np.stack([frame] * 2)),
        lambda: batch.outcomes(np.zeros(2, int)),
    ):
        with pytest.raises(StateError, match="reset"):
            call()
    env.reset(seed=0)
    batch.reset(seed=0)
    for step in range(LIMIT):
        assert env.observe(0, frame)[3] == (step == LIMIT - 1)
        batch.observe(np.zeros(2, int), np.stack([frame] * 2))
    for ended in (
        lambda: env.observe(0, frame),
        lambda: env.outcomes(0),
        lambda: batch.observe(np.zeros(2, int), np.stack([frame] * 2)),
        lambda: batch.outcomes(np.zeros(2, int)),
    ):
        with pytest.raises(StateError, match="ended"):
            ended()
    env.close()
    with pytest.raises(StateError, match="closed"):
        env.observe(0, frame)


def test_every_outcome_can_be_continued(world: Path) -> None:
    env, other = DreamEnv(str(world)), DreamEnv(str(world))
    env.reset(seed=3)
    outcomes = env.outcomes(1)
    assert outcomes.exact and len(outcomes.states) == 4
    assert np.isclose(outcomes.probabilities.sum(), 1)
    for observation, state in zip(outcomes.observations, outcomes.states, strict=True):
        assert np.array_equal(other.restore_state(state), observation)
    observation = env.step(1)[0]
    came = [np.array_equal(observation, o) for o in outcomes.observations].index(True)
    other.restore_state(outcomes.states[came])
    assert np.array_equal(env.step(2)[0], other.step(2)[0])


def test_a_batch_has_the_outcomes_of_its_rows(world: Path) -> None:
    batch, single = DreamVectorEnv(3, world=str(world)), DreamEnv(str(world))
    batch.reset(seed=8)
    single.reset(seed=9)
    many, one = batch.outcomes(np.array([0, 2, 1])), single.outcomes(2)
    assert np.array_equal(many.observations[1], one.observations)
    assert np.allclose(many.probabilities[1], one.probabilities, atol=1e-6)
    assert np.array_equal(single.restore_state(many.states[1][3]), one.observations[3])


def test_samples_say_so(random_world: Path) -> None:
    env = DreamEnv(str(random_world))
    env.reset(seed=0)
    outcomes = env.outcomes(0, samples=3)
    assert not outcomes.exact and outcomes.probabilities.tolist() == [1 / 3] * 3
    with pytest.raises(ConfigError, match="samples"):
        env.outcomes(0, samples=0)
