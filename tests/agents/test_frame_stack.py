"""Agents that see several frames at once: in training, in scoring, and frame by frame elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from dfgym.agents import dqn, evaluate, ppo, saved
from dfgym.agents.players import make_factory
from dfgym.errors import ConfigError
from dfgym.evaluation import transfer
from dfgym.games.source import Opening, open_source

CHANGED = "DFTest/Changed-v0"
TINY = {"steps": 32, "num_envs": 2, "rollout": 16, "batch": 32, "epochs": 1, "device": "cpu"}


class Changed(gym.Env[np.ndarray, Any]):
    """Eight steps; action 1 is paid where the frame differs from the last one, else action 0.

    Frames are dark or bright by chance, each as likely as the other whatever came before, so one
    frame alone tells nothing. Before the first it was dark, as `VecFrameStack` has it.
    """

    action_space = gym.spaces.Discrete(2)

    def __init__(self, side: int = 40, length: int = 8) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (side, side, 3), np.uint8)
        self.length = length

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.left, self.bright = self.length, 0
        return self._frame(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.changed)
        self.left -= 1
        return self._frame(), reward, self.left == 0, False, {}

    def _frame(self) -> np.ndarray:
        bright = int(self.np_random.integers(2))
        self.changed, self.bright = bright != self.bright, bright
        assert self.observation_space.shape is not None
        return np.full(self.observation_space.shape, 255 * bright, np.uint8)


@pytest.fixture(autouse=True, scope="module")
def changed_id() -> Iterator[None]:
    gym.register(CHANGED, lambda **keywords: Changed(**keywords))
    yield
    del gym.registry[CHANGED]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent that has learned from two frames at once."""
    config = ppo.Config(
        env=CHANGED, steps=2048, num_envs=8, rollout=32, batch=64, learning_rate=2e-3,
        frame_stack=2, out=tmp_path_factory.mktemp("changed"), device="cpu",
    )  # fmt: skip
    return ppo.train(config)


@pytest.mark.slow
def test_ppo_learns_what_only_two_frames_tell(trained: Path) -> None:
    score = evaluate.evaluate(f"sb3:ppo:{trained}", CHANGED, 20, greedy=True, progress=False)
    assert score.mean > 7.5  # by chance, and by any rule of one frame, 4; at best 8
    assert json.loads((trained.parent / "config.json").read_text())["frame_stack"] == 2


def test_frame_by_frame_it_plays_as_through_vec_frame_stack(trained: Path) -> None:
    model = PPO.load(trained, device="cpu")
    venv = VecFrameStack(DummyVecEnv([Changed]), 2)
    venv.seed(5)
    source = open_source(Opening(CHANGED))
    begin = make_factory(f"sb3:ppo:{trained}", CHANGED, source)
    stacked, paid = np.asarray(venv.reset()), 0.0
    for episode in range(6):
        play = begin(np.random.SeedSequence(0))
        frame, _ = source.env.reset(seed=5 if episode == 0 else None)
        ended = False
        while not ended:
            assert np.array_equal(stacked[0, ..., 3:], frame)
            expected, _ = model.predict(stacked, deterministic=True)
            action = play(frame, frame)
            assert action == expected[0]
            stacked = np.asarray(venv.step(expected)[0])
            frame, reward, ended, _, _ = source.env.step(action)
            paid += float(reward)
    assert paid > 6 * 7.5


@given(frame_stack=st.integers(1, 4), lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_an_episode_remembers_its_frames_and_no_others(
    frame_stack: int, lengths: list[int]
) -> None:
    frames_before: list[np.ndarray] = []

    def predict(observation: np.ndarray, deterministic: bool) -> tuple[np.ndarray, None]:
        assert deterministic
        frames_before.append(observation)
        return np.array(1), None

    model: Any = SimpleNamespace(predict=predict)
    agent = saved.SavedAgent(model, 1, frame_stack)
    bright = np.random.default_rng(0).integers(1, 256, (sum(lengths), 2, 2, 3), np.uint8)
    reused = np.zeros((2, 2, 3), np.uint8)  # some environments write each frame into the last one
    end = 0
    for length in lengths:
        begin, end = end, end + length
        play = agent.begin(np.asarray)
        for now in range(begin, end):
            reused[:] = bright[now]
            assert play(reused) == 1
            for age in range(frame_stack):
                channels = slice(3 * (frame_stack - 1 - age), 3 * (frame_stack - age))
                wanted = bright[now - age] if now - age >= begin else np.zeros((2, 2, 3))
                assert np.array_equal(frames_before[-1][..., channels], wanted)
    assert len(frames_before) == sum(lengths)


def test_an_agent_fits_smaller_single_frames_and_no_others(trained: Path) -> None:
    def load(*shape: int) -> saved.SavedAgent:
        return saved.load("ppo", trained, gym.spaces.Box(0, 255, shape, np.uint8))

    for side, scale in ((40, 1), (10, 4)):
        for channels, frame_stack in ((3, 2), (6, 1), (2, 3)):
            agent = load(side, side, channels)
            assert (agent.scale, agent.frame_stack) == (scale, frame_stack)
    for shape in ((40, 40, 4), (40, 40, 12), (40, 20, 3), (80, 80, 3), (40, 40), (9600,)):
        with pytest.raises(ConfigError, match=r"learned from observations \[6, 40, 40\]"):
            load(*shape)


def test_in_smaller_frames_it_scores_the_same(trained: Path) -> None:
    agent = f"sb3:ppo:{trained}"
    small, large = (
        evaluate.evaluate(agent, CHANGED, 12, num_envs=4, progress=False, side=side)
        for side in (10, 40)
    )
    assert small.returns.tolist() == large.returns.tolist()


@pytest.mark.parametrize("agent", [ppo, dqn], ids=["ppo", "dqn"])
def test_more_frames_than_can_be_stacked_are_refused(agent: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="frame_stack is 0; expected int >= 1"):
        agent.Config(frame_stack=0)
    with pytest.raises(ConfigError, match=r"frame_stack is 14; .* 40x40, of which at most 13 can"):
        agent.train(agent.Config(env=CHANGED, frame_stack=14, device="cpu", out=tmp_path / "run"))
    assert not [*tmp_path.iterdir()]


def test_dqn_sees_as_many_frames(tmp_path: Path) -> None:
    config = dqn.Config(
        env=CHANGED, steps=64, num_envs=4, memory=300, learning_starts=40, batch=16,
        frame_stack=3, out=tmp_path, device="cpu",
    )  # fmt: skip
    path = dqn.train(config)
    source = open_source(Opening(CHANGED))
    assert saved.load("dqn", path, source.env.observation_space).frame_stack == 3
    assert len(evaluate.evaluate(f"sb3:dqn:{path}", CHANGED, 3, progress=False).returns) == 3


def test_transfer_trains_with_as_many_frames_and_says_so(
    tmp_path: Path, random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[ppo.Config] = []

    def train(config: ppo.Config) -> Path:
        trained.append(config)
        return config.out / "agent.zip"

    def score(agent: str, env: str, episodes: int, seed: int) -> SimpleNamespace:
        return SimpleNamespace(to_dict=lambda: {"mean": 1.0})

    monkeypatch.setattr(ppo, "train", train)
    monkeypatch.setattr(evaluate, "evaluate", score)
    monkeypatch.setenv("DFGYM_WORLDS", str(random_world.parent))

    def run(folder: str, **settings: Any) -> None:
        transfer.transfer(
            transfer.Config(
                "toy-random-v0", tmp_path / folder, ("dream",), (0,), steps=10, **settings
            )
        )

    run("stacked", frame_stack=4)
    assert trained.pop().frame_stack == 4
    for name in ("dream-0", "random"):
        result = json.loads((tmp_path / "stacked" / f"{name}.json").read_text())
        assert result["frame_stack"] == 4
    with pytest.raises(ConfigError, match="`frame_stack` is 1; expected 4"):
        run("stacked")
    with pytest.raises(ConfigError, match="frame_stack is 0; expected int >= 1"):
        run("stacked", frame_stack=0)
    assert not trained
