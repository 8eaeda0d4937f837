"""The SB3 agents: what they see, how they train, in a toy dream and in the real game alike."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import json
import math
import runpy
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import NatureCNN

import dfgym
from dfgym.agents import dqn, evaluate, ppo, sb3
from dfgym.agents.sb3 import Progress, WholeFrameCNN, make_venv
from dfgym.errors import ConfigError, DeviceError
from toys.game import DREAM, HIDDEN, MAX_STEPS, REAL

pytestmark = pytest.mark.usefixtures("toy_ids")
HYPERPARAMS = Path(evaluate.__file__).parent / "hyperparams"


def reach(net: torch.nn.Module, side: int) -> tuple[int, int]:
    """The last row and column of a frame that a network's output depends on."""
    frame = torch.rand(1, 3, side, side, requires_grad=True)
    net(frame).sum().backward()
    assert frame.grad is not None
    cells = frame.grad.abs().sum((0, 1)).nonzero()
    return int(cells[:, 0].max()), int(cells[:, 1].max())


def test_sb3s_cnn_is_blind_to_the_edge_of_a_40x40_frame_and_ours_is_not() -> None:
    torch.manual_seed(0)
    space = gym.spaces.Box(0, 255, (3, 40, 40), np.uint8)
    assert reach(NatureCNN(space), 40) == (35, 35)  # if this fails, SB3 mended it: drop ours
    assert reach(WholeFrameCNN(space), 40) == (39, 39)


@pytest.mark.parametrize("side", [3, 8, 10, 16, 28, 29, 36, 37, 41, 64, 84])
def test_whole_frame_cnn_sees_every_size_whole(side: int) -> None:
    torch.manual_seed(0)
    space = gym.spaces.Box(0, 255, (3, side, side), np.uint8)
    assert reach(WholeFrameCNN(space), side) == (side - 1, side - 1)


@pytest.mark.parametrize("env", ["toys.catch:toys/Catch-v0", "toys.catch:Catch"])
@pytest.mark.parametrize("agent", [ppo, dqn], ids=["ppo", "dqn"])
def test_an_agent_learns_in_a_small_game_of_ones_own(agent: Any, env: str, tmp_path: Path) -> None:
    path = agent.train(agent.Config(env=env, steps=64, out=tmp_path, **SMALL[agent]))
    algorithm = agent.__name__.rpartition(".")[2]
    score = evaluate.evaluate(f"sb3:{algorithm}:{path}", env, 2, num_envs=2, progress=False)
    assert (score.lengths == 3 * 7).all(), "it is Catch, of 8 x 8"


def test_all_places_are_opened_before_one_is_played(capsys: pytest.CaptureFixture[str]) -> None:
    config = evaluate.Config("random", (DREAM, "DFReal/nowhere-v0"), episodes=1)
    with pytest.raises(ConfigError, match="DFReal/nowhere-v0' cannot be made"):
        evaluate.main(config)
    assert DREAM not in capsys.readouterr().err


def test_an_id_that_there_is_not_is_refused_with_the_form() -> None:
    for env in ("toys.catch:Nothing", "Nothing-v0", "toys/catch.py:Catch"):
        with pytest.raises(ConfigError, match=r"expected id, module:id .*, or module:Class"):
            make_venv(env, 1)


@pytest.mark.parametrize("env", [DREAM, f"dfgym:{DREAM}", REAL])
def test_both_places_give_the_same_kind_of_batch(env: str) -> None:
    venv = make_venv(env, 3)
    venv.seed(7)
    first = np.asarray(venv.reset())
    assert first.shape == (3, 40, 40, 3) and first.dtype == np.uint8
    assert venv.action_space == gym.spaces.Discrete(3)
    for _ in range(MAX_STEPS):
        _, rewards, dones, infos = venv.step(np.zeros(3, np.int64))
        if dones.any():
            break
    row = int(np.flatnonzero(dones)[0])
    assert rewards.dtype == np.float32
    assert infos[row]["episode"]["l"] <= MAX_STEPS
    assert infos[row]["terminal_observation"].shape == (40, 40, 3)
    venv.seed(7)
    assert np.array_equal(np.asarray(venv.reset()), first)
    venv.close()


def test_no_copies_are_refused() -> None:
    with pytest.raises(ValueError, match="num_envs is 0"):
        make_venv(REAL, 0)


@pytest.mark.parametrize(("steps", "minutes"), [(0, None), (10, 0.0), (10, float("nan"))])
def test_training_for_no_time_is_refused(steps: int, minutes: float | None) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Progress(steps, minutes)


# --- training ---

SMALL: dict[Any, dict[str, Any]] = {
    ppo: {"num_envs": 4, "rollout": 16, "batch": 32, "epochs": 1, "device": "cpu"},
    dqn: {"num_envs": 4, "memory": 300, "learning_starts": 40, "batch": 16, "device": "cpu"},
}


@pytest.mark.parametrize("env", [DREAM, REAL])
@pytest.mark.parametrize("agent", [ppo, dqn], ids=["ppo", "dqn"])
def test_an_agent_trains_is_saved_and_scored(agent: Any, env: str, tmp_path: Path) -> None:
    config = agent.Config(env=env, steps=128, seed=3, out=tmp_path, **SMALL[agent])
    path = agent.train(config)
    assert path == tmp_path / "agent.zip"
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"agent.zip", "config.json", "progress.csv"}
    algorithm = agent.__name__.rpartition(".")[2]
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["algorithm"] == algorithm and written["seed"] == 3
    score = evaluate.evaluate(f"sb3:{algorithm}:{path}", env, 5, num_envs=2, progress=False)
    assert len(score.returns) == 5 and (score.lengths >= 1).all()


def test_the_same_seed_trains_the_same_agent(tmp_path: Path) -> None:
    weights = []
    for run, seed in enumerate((1, 1, 2)):
        config = ppo.Config(env=REAL, steps=128, seed=seed, out=tmp_path / str(run), **SMALL[ppo])
        state = PPO.load(ppo.train(config), device="cpu").policy.state_dict()
        weights.append(torch.cat([value.flatten() for value in state.values()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_ppo_learns_what_only_the_last_row_tells(tmp_path: Path) -> None:
    config = ppo.Config(
        env=HIDDEN, steps=2048, num_envs=8, rollout=32, batch=64, learning_rate=2e-3,
        out=tmp_path, device="cpu",
    )  # fmt: skip
    agent = f"sb3:ppo:{ppo.train(config)}"
    score = evaluate.evaluate(agent, HIDDEN, 20, greedy=True, progress=False)
    assert score.mean > 7.5  # by chance 4, at best 8


def test_luck_goes_by_what_the_agent_itself_holds_frames_for(tmp_path: Path) -> None:
    config = ppo.Config(DREAM, 16, out=tmp_path, num_envs=2, rollout=4, batch=4)
    agent = PPO.load(ppo.train(config))
    venv = make_venv(DREAM, 2)
    dynamics, shape = venv.get_attr("dynamics")[0], venv.observation_space.shape
    assert shape is not None
    ppo.judge_outcomes(agent, dynamics)
    observations = np.asarray(venv.reset())
    scale = shape[0] // dynamics.world.card.frames.height
    frames = observations[:, ::scale, ::scale]
    expected = agent.policy.predict_values(agent.policy.obs_to_tensor(observations)[0])
    np.testing.assert_allclose(dynamics.judge(frames), expected[:, 0].detach(), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"env": REAL, "luck": -0.5}, "luck is -0.5, and .* is no dream"),
        ({"luck": 1.0, "frame_stack": 2}, "luck is 1.0 and frame_stack 2"),
        ({"luck": math.nan}, "luck"),
        ({"env": DREAM, "luck": 1.0}, "luck is 1.0, and .* tells no outcomes apart"),
    ],
)
def test_luck_that_means_nothing_is_refused(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        ppo.train(ppo.Config(steps=16, out=tmp_path, num_envs=1, rollout=4, batch=4, **settings))


def test_training_stops_when_the_time_is_up(tmp_path: Path) -> None:
    rates: list[float] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            rates.append(self.model.policy.optimizer.param_groups[0]["lr"])
            return True

    config = ppo.Config(
        env=REAL, steps=10**9, minutes=0.02, out=tmp_path, learning_rate=1e-3, **SMALL[ppo]
    )
    ppo.train(config, Watch())
    assert len(rates) * 4 < 100_000
    assert rates[-1] < 0.5 * rates[0]  # the learning rate fell with the clock
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates))


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("seed", -1), ("num_envs", 0), ("gamma", 2.0), ("learning_rate", math.nan)],
)
@pytest.mark.parametrize("agent", [ppo, dqn], ids=["ppo", "dqn"])
def test_a_wrong_number_is_refused_with_the_range(agent: Any, name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value}; (expected|must be) "):
        agent.Config(**{name: value})


@pytest.mark.parametrize("module", ["ppo", "dqn", "evaluate"])
def test_mistakes_on_the_command_line_are_no_traceback(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    agent = {"ppo": ppo, "dqn": dqn, "evaluate": evaluate}[module]
    run = evaluate.main if module == "evaluate" else agent.train
    first = ["--agent", "random", "--envs"] if module == "evaluate" else ["--env"]
    monkeypatch.setattr(sys, "argv", ["dfgym", *first, "DFWorld/nowhere-v0"])
    assert sb3.main(agent.Config, run, None) == 2
    output = capsys.readouterr().err
    assert output.startswith("dfgym: error: 'DFWorld/nowhere-v0' cannot be made: ")
    assert output.count("\n") == 1
    wrong = ["--agent", "random", "--envs"] if module == "evaluate" else ["--steps", "0"]
    monkeypatch.setattr(sys, "argv", ["dfgym", *wrong])
    with pytest.raises(SystemExit) as stop:
        sb3.main(agent.Config, run, None)
    assert stop.value.code == 2 and "Traceback" not in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("agent", [ppo, dqn], ids=["ppo", "dqn"])
def test_what_an_agent_cannot_learn_in_or_on_is_refused(agent: Any, tmp_path: Path) -> None:
    small = {**SMALL[agent], "out": tmp_path / "run"}
    with pytest.raises(ConfigError, match="CartPole-v1 has observations"):
        agent.train(agent.Config(env="CartPole-v1", **small))
    with pytest.raises(DeviceError, match="'cuda:99'"):
        agent.train(agent.Config(env=DREAM, **{**small, "device": "cuda:99"}))
    with pytest.raises(ConfigError, match="device is 'gpu'"):
        agent.train(agent.Config(env=DREAM, **{**small, "device": "gpu"}))
    assert not (tmp_path / "run").exists()


ZOO = runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "zoo.py"))


@pytest.mark.parametrize("agent", [ppo, dqn], ids=["ppo", "dqn"])
def test_the_zoo_file_says_what_the_agent_does(agent: Any) -> None:
    file = HYPERPARAMS / f"{agent.__name__.rpartition('.')[2]}.yml"
    assert file.read_text() == ZOO["text"](agent), "run `python .ci/zoo.py`"
    settings = {field.name for field in dataclasses.fields(agent.Config)}
    elsewhere = {"env", "minutes", "seed", "out", "device", "threads", "trust", "luck"}
    others = {"frame_stack", "standardize", "normalize_rewards"}  # the Zoo has keys of its own
    assert settings - elsewhere - others == {*ZOO["FIELDS"][agent].values()}


def test_the_zoo_can_evaluate_its_strings() -> None:
    values = ZOO["entries"](ppo, ppo.Config(standardize=True, normalize_rewards=True))
    eyes = eval(ast.literal_eval(values["policy_kwargs"]))
    assert eyes == {
        "features_extractor_class": WholeFrameCNN,
        "features_extractor_kwargs": {"standardize": True},
    }
    assert eval(ast.literal_eval(values["normalize"])) == {"norm_obs": False, "norm_reward": True}
    assert "normalize" not in ZOO["entries"](ppo, ppo.Config())


def test_the_documented_three_lines_train() -> None:
    venv = dfgym.make_sb3(DREAM, num_envs=2)
    PPO("CnnPolicy", venv, n_steps=8, batch_size=16, n_epochs=1, device="cpu").learn(16)
    venv.close()
