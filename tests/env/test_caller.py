"""What callers bring along: autocast, seeds, keywords; and worlds whose numbers run away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import dfgym
from dfgym.device import pick_device
from dfgym.env.env import DreamEnv
from dfgym.env.real import RealEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import ConfigError, WorldError
from dfgym.world import bundle
from toys.world import toy_card, toy_starts, toy_weights


def test_a_caller_s_autocast_changes_nothing(random_world: Path) -> None:
    for precision in ("float32", "bfloat16"):
        one, other = (DreamEnv(random_world, device="cpu", precision=precision) for _ in "ab")
        one.reset(seed=1)
        with torch.autocast("cpu", torch.bfloat16):
            other.reset(seed=1)
        for step in range(5):
            expected = one.step(step % 3)
            with torch.autocast("cpu", torch.bfloat16):
                result = other.step(step % 3)
            assert np.array_equal(expected[0], result[0]) and expected[1:] == result[1:]
            if expected[2]:
                break


@pytest.mark.parametrize("seed", [-1, True, 1.5, "1", np.float64(2)])
def test_a_wrong_seed_is_named_by_every_door(random_world: Path, seed: Any) -> None:
    doors: list[Any] = [
        DreamEnv(random_world, device="cpu"),
        DreamVectorEnv(1, world=random_world, device="cpu"),
        RealEnv(random_world),
    ]
    for env in doors:
        with pytest.raises(ConfigError, match=r"^seed .* must be an int of at least 0"):
            env.reset(seed=seed)


def test_numpy_s_whole_numbers_are_seeds(random_world: Path) -> None:
    for env in (DreamEnv(random_world, device="cpu"), RealEnv(random_world)):
        results = [env.reset(seed=seed)[0] for seed in (7, np.int64(7), np.uint8(7))]  # type: ignore[arg-type]
        assert all(np.array_equal(results[0], result) for result in results)


def test_an_unknown_keyword_is_answered_with_all_that_there_are(random_world: Path) -> None:
    for make in (gym.make, gym.make_vec):
        with pytest.raises(ConfigError, match="unexpected keyword argument") as error:
            make("dfgym:DFWorld-v0", world=random_world, wrld=1)
        assert isinstance(error.value, TypeError)  # as Python's, which TorchRL's GymEnv awaits
        for name in ("'wrld'", "world", "render_mode", "max_episode_steps", "device", "compile"):
            assert name in str(error.value)


def test_the_real_game_takes_no_settings_of_a_dream(toy_ids: Path) -> None:
    with pytest.raises(ConfigError, match=r"argument 'device'; the real game takes world"):
        gym.make(f"DFReal/{toy_ids.name}", device="cpu")


def test_devices_of_the_processor_have_no_numbers() -> None:
    for name in ("cpu:3", "cpu:0"):
        with pytest.raises(ConfigError, match=r"device is 'cpu:\d'; allowed are auto, cpu, cuda"):
            pick_device(name)


def test_absurd_weights_are_refused_by_the_step_that_meets_them(tmp_path: Path) -> None:
    card = toy_card()
    weights = toy_weights(card)
    weights["head_out.weight"] = weights["head_out.weight"].sign() * 3e38  # infinity less itself
    bundle.write(tmp_path / card.name, card, weights, toy_starts(card))
    env = DreamEnv(tmp_path / card.name, device="cpu")
    env.reset(seed=0)
    before = [env.clone_state()]
    with pytest.raises(WorldError, match=r"toy-random-v0 computes numbers that are not finite"):
        for _ in range(9):
            if env.step(0)[2]:
                env.reset()
            before.append(env.clone_state())
    assert env.clone_state() == before[-1]


def test_films_of_a_batch_have_the_world_s_rate(random_world: Path) -> None:
    env = dfgym.make_sb3("DFWorld-v0", 1, world=random_world, device="cpu", render_mode="rgb_array")
    assert env.unwrapped.metadata["render_fps"] == toy_card().frames.fps
