"""The recurrent agent: it remembers what PPO cannot, and is saved and scored as the others are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

pytest.importorskip("sb3_contrib")

from dfgym.agents import evaluate, recurrent_ppo
from dfgym.agents.recurrent_ppo import Config, TileFeatures, train
from dfgym.errors import ConfigError, MissingPackageError
from toys.game import DREAM

pytestmark = pytest.mark.usefixtures("toy_ids")
RECALL = "DFTest/Recall-v0"
SMALL: dict[str, Any] = {"num_envs": 16, "rollout": 8, "batch": 128, "width": 32, "device": "cpu"}


class Recall(gym.Env[np.ndarray, Any]):
    """Four steps; the last is rewarded if its action is the one that the first frame showed."""

    observation_space = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, Any]:
        super().reset(seed=seed)
        self.right, self.step_count = int(self.np_random.integers(2)), 0
        return self.draw(self.right), {}

    def draw(self, mark: int | None) -> np.ndarray:
        frame = np.zeros((8, 8, 3), np.uint8)
        if mark is not None:
            frame[2:4, 4 * mark : 4 * mark + 2] = 255
        return frame

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.step_count += 1
        over = self.step_count == 4
        return self.draw(None), float(over and action == self.right), over, False, {}


@pytest.fixture(autouse=True)
def recall() -> Iterator[None]:
    gym.register(RECALL, Recall)  # type: ignore[arg-type]
    yield
    del gym.registry[RECALL]


def test_it_learns_what_only_the_first_frame_shows(tmp_path: Path) -> None:
    config = Config(env=RECALL, steps=1_536, tile=2, learning_rate=1e-2, out=tmp_path, **SMALL)
    agent = f"sb3:recurrentppo:{train(config)}"
    score = evaluate.evaluate(agent, RECALL, 40, num_envs=7, greedy=True, progress=False)
    assert score.mean == 1  # by chance a half; also with rows whose episodes end apart
    assert {file.name for file in tmp_path.iterdir()} == {
        "agent.zip",
        "config.json",
        "progress.csv",
    }


def test_it_trains_in_a_dream(tmp_path: Path) -> None:
    path = train(Config(env=DREAM, steps=128, tile=4, out=tmp_path, **SMALL))
    score = evaluate.evaluate(f"sb3:recurrentppo:{path}", DREAM, 3, num_envs=2, progress=False)
    assert len(score.returns) == 3


def test_tiles_are_read_in_their_middle() -> None:
    space = gym.spaces.Box(0, 255, (3, 8, 8), np.uint8)
    net = TileFeatures(space, 4, tile=4)
    frame = torch.rand(1, 3, 8, 8)
    other = frame.clone()
    other[:, :, 0] = 0  # an edge
    assert torch.equal(net(frame), net(other))
    other[:, :, 2, 6] = 1
    assert not torch.equal(net(frame), net(other))


def test_tiles_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tile is 7; expected one of 1, 2, 4: the frames"):
        train(Config(env=DREAM, steps=64, tile=7, out=tmp_path, **SMALL))
    with pytest.raises(ConfigError, match="tile is 4; expected one of 1, 2"):
        train(Config(env=RECALL, steps=64, tile=4, out=tmp_path, **SMALL))
    assert not list(tmp_path.iterdir())


def test_without_sb3_contrib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(MissingPackageError, match=r"dfgym\[recurrent\]"):
        recurrent_ppo.train(Config(env=RECALL, out=tmp_path))


def test_a_user_s_number_of_threads_stays() -> None:
    """`use_threads` then takes OMP_NUM_THREADS, as for the other agents."""
    assert Config().threads is None and Config(threads=2).threads == 2
