"""Players that record: agents with the wrappers they were trained with, and code of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from dfgym.agents.players import parse
from dfgym.data.episode import Tap
from dfgym.data.game import Game
from dfgym.errors import ConfigError
from dfgym.games.source import Opening, WrappedPolicy, open_source
from toys.catch import Catch, Negative
from toys.recordings import record

OWN = "toys.catch:toys/Catch-v0"


def test_names_with_wrappers() -> None:
    player = parse("sb3:ppo:runs/a+b.zip+toys.catch:Negative+gymnasium.wrappers:TimeLimit")
    assert player.file == "runs/a+b.zip"
    assert player.wrappers == ("toys.catch:Negative", "gymnasium.wrappers:TimeLimit")
    assert parse("module:my.players:Good").module == "my.players"
    for name in ("module:", "module:a", "module:a b:c", "module::x"):
        with pytest.raises(ConfigError, match="is unknown; allowed are random"):
            parse(name)


def test_functions_and_classes_play(tmp_path: Path) -> None:
    store = record(OWN, tmp_path / "a", 200, {"module:toys.catch:still": 1})
    steps = np.setdiff1d(np.arange(store.num_frames), store.offsets[1:] - 1)
    assert (store.actions[steps] == 1).all()
    store = record(OWN, tmp_path / "b", 400, {"module:toys.catch:Drift": 1})
    steps = np.setdiff1d(np.arange(store.num_frames), store.offsets[1:] - 1)
    assert set(store.actions[steps].tolist()) == {0, 2}
    for episode in store.episodes:
        assert len(set(store.actions[episode.start : episode.start + episode.frames - 1])) == 1
    with pytest.raises(ConfigError, match=r"'none' is not in toys\.catch; expected a function"):
        record(OWN, tmp_path / "c", 10, {"module:toys.catch:none": 1})


class EveryOther(gym.Wrapper[Any, Any, Any, Any]):
    """Plays each action twice, and ends with each thing that lands, as SB3's EpisodicLifeEnv."""

    over = True

    def reset(self, **keywords: Any) -> Any:
        if self.over:
            return self.env.reset(**keywords)
        return self.observation, {}

    def step(self, action: Any) -> Any:
        total = 0.0
        for _ in range(2):
            self.observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            self.over = terminated or truncated
            if self.over:
                break
        return self.observation, total, terminated or total != 0, truncated, info


def test_an_agent_plays_through_its_wrappers_and_the_game_is_recorded(tmp_path: Path) -> None:
    env = EveryOther(Negative(Catch()))
    agent = sb3.PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu", seed=0)
    agent.save(tmp_path / "agent.zip")
    name = f"sb3:ppo:{tmp_path / 'agent.zip'}+toys.catch:Negative+{__name__}:EveryOther"
    store = record(OWN, tmp_path / "data", 60, {name: 1})
    plain = record(OWN, tmp_path / "plain", 60)
    # The recorded frames are the game's, not the agent's, and so are rewards and ends.
    assert (store.frames[0] == plain.frames[0]).all()
    assert store.episodes[0].frames == plain.episodes[0].frames == 22
    assert np.count_nonzero(store.rewards[:21]) == 3
    # Each action is held for two steps.
    for t in range(0, 20, 2):
        view = 255 - store.frames[t]
        assert store.actions[t] == agent.predict(view, deterministic=True)[0]
        assert store.actions[t] == store.actions[t + 1]
    with pytest.raises(ConfigError, match="plays real games only"):
        WrappedPolicy(Negative, lambda: agent.predict)(None, np.zeros(0))


def test_a_wrapper_that_resets_in_mid_episode_cuts_it_off() -> None:
    source = open_source(Opening("Catch", module="toys.catch"), trusted=True)
    tap = Tap(Game(source, "a game"), 0, 100, lambda: None)
    first, _ = tap.reset()
    assert (tap.reset()[0] == first).all() and len(tap.frames) == 1
    tap.step(1)
    with pytest.raises(gym.error.ResetNeeded):
        tap.reset()
    assert tap.truncated and len(tap.frames) == 2


def test_atari_agents_record(tmp_path: Path) -> None:
    pytest.importorskip("ale_py")
    import ale_py

    gym.register_envs(ale_py)
    venv = VecFrameStack(make_atari_env("BreakoutNoFrameskip-v4", n_envs=1, seed=0), 4)
    agent = sb3.PPO("CnnPolicy", venv, n_steps=8, batch_size=8, device="cpu", seed=0)
    agent.save(tmp_path / "agent.zip")
    name = f"sb3:ppo:{tmp_path / 'agent.zip'}"
    options: dict[str, Any] = {"resize": (64, 64), "max_episode_steps": 200}
    store = record("ALE/Breakout-v5", tmp_path / "data", 300, {name: 1}, **options)
    assert store.frame_shape == (64, 64, 3) and store.num_frames >= 300
    assert store.meta["meanings"] == ["noop", "fire", "right", "left"]
    # The same agent in the same wrappers, played by hand, presses the same buttons.
    from stable_baselines3.common.atari_wrappers import AtariWrapper

    episode = store.episodes[0]
    env = AtariWrapper(gym.make("ALE/Breakout-v5", disable_env_checker=True), frame_skip=1)
    frames = [np.zeros((84, 84, 1), np.uint8)] * 3 + [env.reset(seed=episode.seed)[0]]
    lead = episode.frames - 1
    actions = []
    for _ in range(20):
        action = int(agent.predict(np.concatenate(frames[-4:], -1), deterministic=True)[0])
        actions.append(action)
        observation, _, terminated, _, _ = env.step(action)
        if terminated:
            break
        frames.append(observation)
    recorded = store.actions[:lead].tolist()
    text = ",".join(map(str, recorded))
    assert ",".join(map(str, actions)) in text


def test_contrib_agents_record(tmp_path: Path) -> None:
    contrib = pytest.importorskip("sb3_contrib")
    env = DummyVecEnv([Catch])
    kinds = {"qrdqn": contrib.QRDQN, "trpo": contrib.TRPO, "recurrentppo": contrib.RecurrentPPO}
    for algorithm, kind in kinds.items():
        policy = "MlpLstmPolicy" if algorithm == "recurrentppo" else "MlpPolicy"
        agent = kind(policy, env, device="cpu", seed=0)
        agent.save(tmp_path / f"{algorithm}.zip")
        name = f"sb3:{algorithm}:{tmp_path / algorithm}.zip"
        store = record(OWN, tmp_path / algorithm, 50, {name: 1})
        state = None
        for t in range(10):
            start = np.array([t == 0])
            action, state = agent.predict(store.frames[t].copy(), state, start, deterministic=True)
            assert store.actions[t] == action
