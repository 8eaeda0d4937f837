"""All that may happen next: probabilities, what `step` draws, states behind; and given frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dfgym.model.config import ModelConfig
from dfgym.world.bundle import World
from dfgym.world.card import Sampler
from dfgym.world.dynamics import Dynamics
from dfgym.world.outcomes import merge
from dfgym.world.settings import Settings
from toys.world import toy_card, toy_starts, toy_weights

WINDOW = 4


def toy(mixture: int = 4, kind: str = "transformer", steps: int = 1) -> World:
    card = toy_card(
        model=ModelConfig(16, 2, 1, patch=2, window=WINDOW, mixture=mixture, kind=kind),  # type: ignore[arg-type]
        sampler=Sampler(denoising_steps=steps, shift=1.0, context_mode="clean", context_noise=0.0),
    )
    return World(card, "", Path(), toy_weights(card), toy_starts(card))


def begin(world: World, rows: int, **settings: object) -> Dynamics:
    run = Dynamics(world, rows, Settings(device="cpu", **settings))  # type: ignore[arg-type]
    frames, actions = world.starts.episode(0)
    contexts = [(frames[: 1 + row % 3], actions[: row % 3]) for row in range(rows)]
    run.reset(np.arange(rows), np.arange(rows) + 7, contexts)
    return run


def test_steps_draw_the_outcomes_by_their_probabilities() -> None:
    rows = 400
    run = begin(toy(), rows)
    actions = np.arange(rows) % 3
    outcomes = run.outcomes(actions)
    assert outcomes.exact and outcomes.frames.shape[:2] == (rows, 4)
    assert np.allclose(outcomes.probabilities.sum(1), 1, atol=1e-12)
    assert outcomes.probabilities.max() < 0.999  # there is something to draw
    transition = run.step(actions)
    same = (outcomes.frames == transition.frames[:, None]).all((2, 3, 4))
    assert same.any(1).all()
    first = same.argmax(1)
    # How often the likeliest frame came, against its probability.
    likeliest = outcomes.probabilities.argmax(1)
    alike = (outcomes.frames == outcomes.frames[np.arange(rows), likeliest][:, None]).all((2, 3, 4))
    expected = (outcomes.probabilities * alike).sum(1)
    came = same[np.arange(rows), likeliest].sum()
    assert abs(came - expected.sum()) < 4 * np.sqrt((expected * (1 - expected)).sum())
    # Reward and end that `step` predicts are those of the outcome that came.
    chances = outcomes.termination_probability[np.arange(rows), first]
    single = same.sum(1) == 1
    assert np.allclose(chances[single], transition.termination_probability[single], atol=1e-5)


@pytest.mark.parametrize(("mixture", "steps"), [(4, 1), (1, 2), (4, 2)])
@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_the_state_behind_an_outcome_goes_on_as_the_step_would(
    mixture: int, steps: int, kind: str
) -> None:
    run = begin(toy(mixture, kind, steps), 3)
    actions = np.array([0, 1, 2])
    before = run.get_state(np.arange(3))
    outcomes = run.outcomes(actions, samples=5)
    after = run.get_state(np.arange(3))
    assert all(np.array_equal(before[name], after[name]) for name in before)  # no row moved
    exact = mixture > 1 and steps == 1
    assert outcomes.exact == exact
    assert outcomes.probabilities.shape == (3, mixture if exact else 5)
    if not exact:
        assert (outcomes.probabilities == 1 / 5).all()
        return
    transition = run.step(actions)
    came = (outcomes.frames == transition.frames[:, None]).all((2, 3, 4)).argmax(1)
    mine = {name: value[np.arange(3), came] for name, value in outcomes.state.items()}
    stepped = run.get_state(np.arange(3))
    assert all(np.allclose(mine[name], stepped[name], atol=1e-5) for name in mine)
    second = run.step(actions)
    run.set_state(np.arange(3), mine)
    again = run.step(actions)
    assert np.array_equal(second.frames, again.frames)
    assert np.allclose(second.termination_probability, again.termination_probability, atol=1e-5)


def test_samples_of_a_world_without_outcomes_differ_and_repeat() -> None:
    run = begin(toy(1, steps=2), 2)
    actions = np.array([1, 2])
    first, second = run.outcomes(actions, 16), run.outcomes(actions, 16)
    assert np.array_equal(first.frames, second.frames)
    assert len({frame.tobytes() for frame in first.frames[0]}) > 1
    assert len(set(first.state["seed"][0].tolist())) == 16


@pytest.mark.parametrize("rows", [1, 3, 8, 11])
@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
@pytest.mark.parametrize("mode", ["clean", "noised", "dynamic", "kept"])
def test_observing_equals_resetting_with_the_same_frames(rows: int, kind: str, mode: str) -> None:
    noisy = {"context_noise": 0.2} if mode in ("noised", "dynamic") else {}
    world = toy(kind=kind)
    settings = Settings(device="cpu", denoising_steps=4, context_mode=mode, **noisy)  # type: ignore[arg-type]
    frames, actions = world.starts.episode(1)
    seeds = np.arange(rows) + 3
    reset, follower = (Dynamics(world, rows, settings) for _ in range(2))
    reset.reset(np.arange(rows), seeds, [(frames[:WINDOW], actions[: WINDOW - 1])] * rows)
    follower.reset(np.arange(rows), seeds, [(frames[:1], actions[:0])] * rows)
    for t in range(1, WINDOW):
        followed = follower.observe(
            np.repeat(actions[t - 1 : t], rows), np.stack([frames[t]] * rows)
        )
        assert not followed.terminated.any()
        assert np.array_equal(followed.frames, follower.frames())
        assert ((followed.rewards >= 0) & (followed.rewards <= 1)).all()  # expected of 0 and 1
    mine, theirs = (run.get_state(np.arange(rows)) for run in (follower, reset))
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    mine, theirs = (run.step(np.zeros(rows, np.int64)) for run in (follower, reset))  # type: ignore[assignment]
    assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_observing_a_dreamt_frame_is_stepping_to_it() -> None:
    run, other = (begin(toy(), 3) for _ in range(2))
    actions = np.array([0, 2, 1])
    for _ in range(2 * WINDOW):
        transition = run.step(actions)
        followed = other.observe(actions, transition.frames)
        assert np.allclose(
            followed.termination_probability, transition.termination_probability, atol=1e-5
        )
    mine, theirs = (x.get_state(np.arange(3)) for x in (run, other))
    assert all(np.allclose(mine[name], theirs[name], atol=1e-5) for name in mine)


def test_steps_say_how_open_they_were() -> None:
    run = begin(toy(), 5)
    outcomes = run.outcomes(np.zeros(5, np.int64))
    weights, _ = merge(outcomes.probabilities, outcomes.frames, 4, 0.0)
    exact = -(weights * np.log(np.maximum(weights, 1e-300))).sum(1)
    entropy = run.step(np.zeros(5, np.int64)).outcome_entropy
    assert entropy is not None and np.allclose(entropy, exact, atol=1e-4) and entropy.max() > 0.1
    assert begin(toy(1, steps=2), 1).step(np.zeros(1, np.int64)).outcome_entropy is None


def test_steps_say_how_unsure_the_model_was() -> None:
    """Of the frame's least sure cell, within the outcome that was drawn."""
    run = begin(toy(), 5)
    with torch.inference_mode():
        prediction, _ = run.predict(run.condition(np.zeros(5, np.int64)), run.batch)
    transition = run.step(np.zeros(5, np.int64))
    shares = prediction.scores.softmax(-1).amax(-1)  # b m h w
    frames, _ = run.codec.round(prediction.outcomes)
    for row in range(5):
        same = (frames[row].numpy() == transition.frames[row]).all((1, 2, 3))
        unsure = (1 - shares[row].amin((1, 2)))[torch.from_numpy(same)]
        assert transition.epistemic is not None
        assert np.abs(unsure.numpy() - transition.epistemic[row]).min() < 1e-5
        assert 0 < transition.epistemic[row] < 1
