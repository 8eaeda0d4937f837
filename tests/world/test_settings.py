"""Context modes of the networks themselves, and what environments say to those that cannot be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from dfgym.diffusion.context import CONTEXT_MODES, NOISELESS_MODES
from dfgym.diffusion.corrupt import visibility
from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.model.transformer import Transformer
from dfgym.world.bundle import World
from dfgym.world.card import Sampler
from dfgym.world.dynamics import Dynamics, Transition
from dfgym.world.sampling import resolve_sampling
from dfgym.world.settings import Settings
from toys.world import toy_card, toy_starts, toy_weights


@pytest.fixture(scope="module", params=["transformer", "recurrent"])
def toy(request: pytest.FixtureRequest) -> World:
    card = toy_card(model=ModelConfig(16, 2, heads=1, patch=2, window=3, kind=request.param))
    return World(card, "", Path(), toy_weights(card), toy_starts(card))


def begin(world: World, mode: str, seeds: list[int], lengths: list[int]) -> Dynamics:
    noise = None if mode in NOISELESS_MODES else 0.2
    run = Dynamics(world, 3, Settings("cpu", 4, mode, noise))  # type: ignore[arg-type]
    frames, actions = world.starts.episode(0)
    contexts = [(frames[:n], actions[: n - 1]) for n in lengths]
    run.reset(np.arange(3), np.array(seeds), contexts)
    return run


def film(run: Dynamics, steps: int, others: int = 0) -> list[Transition]:
    """A few steps; row 0 acts as ever, the other rows as `others` says."""
    return [run.step(np.array([t % 3, (t + others) % 3, others % 3])) for t in range(steps)]


def row(transitions: list[Transition], index: int) -> list[bytes]:
    return [tensor[index].tobytes() for transition in transitions for tensor in transition[:5]]


@pytest.mark.parametrize("mode", CONTEXT_MODES)
def test_both_networks_step_and_restore_in_every_mode(toy: World, mode: str) -> None:
    rows, seeds, lengths = np.arange(3), [5, 6, 7], [2, 1, 3]
    run, again = (begin(toy, mode, seeds, lengths) for _ in range(2))
    for dynamics in (run, again):
        film(dynamics, 5)
    state, twin = run.get_state(rows), again.get_state(rows)
    assert all(state[name].tobytes() == twin[name].tobytes() for name in state)
    transitions = film(run, 6)
    assert all(np.isfinite(np.stack(transition[1:5])).all() for transition in transitions)
    assert len({transition.frames[0].tobytes() for transition in transitions}) == 6
    other = begin(toy, mode, [0, 5, 1], [1, 2, 2])
    other.set_state(rows, state)
    for same in (film(again, 6), film(other, 6)):
        assert [row(same, i) for i in rows] == [row(transitions, i) for i in rows]  # type: ignore[arg-type]
    mixed = begin(toy, mode, [5, 8, 9], [2, 3, 1])  # row 0 beside others
    film(mixed, 5, others=1)
    assert row(film(mixed, 6, others=2), 0) == row(transitions, 0)


@torch.inference_mode()
def test_kept_context_is_the_states_that_the_last_passes_saw(toy: World) -> None:
    """One pass a denoising step and none more; and equal to seeing all those states at once."""
    run = begin(toy, "kept", [5, 6, 7], [2, 2, 2])
    network, steps, levels = run.network, 5, run.levels
    frames_passed: list[Tensor] = []

    def spy(frames: Tensor, *arguments: Any) -> Tensor:
        frames_passed.append(frames[:1])
        return network.step(frames, *arguments)

    run._step = spy
    transitions = film(run, steps)
    assert len(frames_passed) == steps * len(levels)
    frames, start_actions = toy.starts.episode(0)
    encoded = run.codec.encode(torch.from_numpy(frames[:2]))[None]
    last_passes = torch.stack(frames_passed[len(levels) - 1 :: len(levels)], 1)
    states = torch.cat((encoded, last_passes), 1)
    tau = torch.tensor([[1.0, 1.0] + [levels[-1]] * steps])
    actions = torch.tensor(
        [[toy.card.actions.n, int(start_actions[0])] + [t % 3 for t in range(steps)]]
    )
    time = torch.arange(steps + 2)[None]
    parts = [states, tau, actions, time]
    mask = visibility(torch.zeros(1, steps + 2), window=3)
    if isinstance(network, Transformer):
        mask = mask[:, : steps + 2, : steps + 2]
    else:
        parts = [torch.cat((tensor, tensor), 1) for tensor in parts]
    whole = network(*parts, mask)  # type: ignore[operator]
    for n, transition in enumerate(transitions):
        ends = whole.termination[0, n + 2].sigmoid().item()
        assert transition.termination_probability[0] == pytest.approx(ends, abs=3e-5)


# --- At the environment's door -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"context_mode": "dirty"}, r"'dirty'; allowed are clean, .*, dynamic, kept$"),
        ({"context_mode": None, "context_noise": 1}, r"is 1; expected float < 1"),
        ({"context_mode": "noised", "context_noise": 1.0}, r"is 1.0; expected float < 1"),
        ({"context_mode": "dynamic", "context_noise": -1e-9}, r"is -1e-09; expected float >= 0"),
        ({"context_mode": "told_noisy", "context_noise": math.nan}, r"is nan; expected a finite"),
        ({"context_mode": "noised", "context_noise": "0.1"}, r"is '0.1'; expected float"),
        ({"context_mode": "noised", "context_noise": True}, r"is True; expected float"),
        ({"context_mode": "kept", "context_noise": 0.1}, r"is 0.1 and context_mode 'kept', which"),
        ({"context_mode": "kept"}, r"steps = 2 .* signal of 0.5, .* take at least 4 denoising"),
        ({"context_mode": "kept", "denoising_steps": 3}, r"signal of 0.67, .* take at least 4 "),
        (
            {"schedule": "autoregressive"},
            "keyword argument .schedule.; allowed are world, .*, compile",
        ),
    ],
)
@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_environments_refuse_what_cannot_be(
    random_world: Path, make: Callable[..., Any], keywords: dict[str, Any], words: str
) -> None:
    """The world's window is 4 past frames, so 5 with the frame itself, and its steps are 2."""
    with pytest.raises(ConfigError, match=words):
        make("dfgym:DFWorld-v0", world=str(random_world), **keywords)


def test_numbers_of_numpy_are_numbers() -> None:
    keywords = {"denoising_steps": np.int64(3), "luck": np.float32(0.5), "compile": np.False_}
    assert Settings.from_keywords(keywords) == Settings(denoising_steps=3, luck=0.5)


@pytest.mark.parametrize("shape", [(2, 8, 7, 3), (2, 16, 16, 3), (0, 8, 8, 3)])
def test_contexts_that_the_model_cannot_read_are_named(
    toy: World, shape: tuple[int, int, int, int]
) -> None:
    run, words = begin(toy, "clean", [0, 1, 2], [1, 1, 1]), rf"\({shape[0]}, .*expected \(t, "
    with pytest.raises(ConfigError, match=words):
        run.reset(np.arange(1), np.arange(1), [(np.zeros(shape, np.uint8), np.zeros(1, int))])


def test_kept_is_refused_where_the_last_pass_sees_too_much_noise() -> None:
    card = toy_card(sampler=Sampler(5, 2.0, "kept", 0.0))
    with pytest.raises(ConfigError, match=r"signal of 0\.67, .* take at least 6 denoising_steps"):
        resolve_sampling(card, Settings())
    assert resolve_sampling(card, Settings(denoising_steps=6)).levels[-1] == pytest.approx(5 / 7)
    assert resolve_sampling(card, Settings(denoising_steps=16)).context.kept
    far = dataclasses.replace(card, sampler=Sampler(5, 100.0, "kept", 0.0))
    with pytest.raises(ConfigError, match=r"signal of 0\.038, .* take another world"):
        resolve_sampling(far, Settings())
