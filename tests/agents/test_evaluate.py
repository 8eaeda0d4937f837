"""How agents are scored: every episode counts once, and the numbers are what they say."""

from __future__ import annotations

import itertools
import json
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import A2C, DQN, PPO
from tqdm import tqdm

from dfgym.agents import evaluate, ppo, saved
from dfgym.errors import ConfigError
from toys.game import DREAM, HIDDEN, LENGTHS, REAL

pytestmark = pytest.mark.usefixtures("toy_ids")


def test_scores_repeat_and_other_seeds_differ() -> None:
    def returns(seed: int) -> list[float]:
        score = evaluate.evaluate("scripted:0.3", REAL, 12, seed, num_envs=4, progress=False)
        return [*score.returns, *score.lengths]

    assert returns(1) == returns(1) != returns(2)


def test_long_episodes_count_as_much_as_short_ones() -> None:
    score = evaluate.evaluate("random", LENGTHS, 16, num_envs=4, progress=False)
    assert sorted(score.returns) == [1.0] * 8 + [20.0] * 8


def test_a_dreams_mean_uncertainty_is_kept_and_a_real_game_has_none() -> None:
    real = evaluate.evaluate("random", REAL, 3, num_envs=2, progress=False)
    assert real.uncertainty is None and "uncertainty" not in real.to_dict()
    dream = evaluate.evaluate("random", DREAM, 3, num_envs=2, progress=False)
    assert 0 < dream.to_dict()["uncertainty"] == dream.uncertainty


def test_uncertainty_counts_in_episodes_that_count() -> None:
    """Two rows share three episodes of two steps: what row 1 does after its own is not scored."""

    class Rows:
        num_envs, steps = 2, 0

        def seed(self, seed: int) -> None:
            pass

        def reset(self) -> np.ndarray:
            return np.zeros((2, 1))

        def step(self, actions: object) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[object]]:
            self.steps += 1
            ends = np.full(2, self.steps % 2 == 0)
            episode = {"r": 0.0, "l": 2}
            infos: list[object] = [
                {"uncertainty": 1.0, "episode": episode},
                {"uncertainty": 4.0, "episode": episode},
            ]
            return np.zeros((2, 1)), np.zeros(2), ends, infos

    uncertainties: list[float] = []
    rows = Rows()
    played: Any = evaluate.play_episodes
    with tqdm(total=3, disable=True) as bar:
        played(rows, lambda *_: np.zeros(2), 3, 0, bar, uncertainties=uncertainties)
    assert rows.steps == 4 and sorted(uncertainties) == [1.0] * 4 + [4.0] * 2


def test_the_scripted_player_beats_random_in_the_real_game() -> None:
    scripted, random = (
        evaluate.evaluate(agent, REAL, 20, progress=False) for agent in ("scripted:0", "random")
    )
    assert scripted.interval[0] > random.interval[1]


@pytest.mark.parametrize(
    ("agent", "text"),
    [
        ("clever", "unknown"),
        ("scripted:x", "could not convert"),
        ("scripted:2", "epsilon"),
        ("sb3:ppo:nowhere.zip", "nowhere.zip"),
        ("sb3:her:nowhere.zip", "her"),
    ],
)
def test_a_wrong_agent_is_named(agent: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        evaluate.evaluate(agent, REAL, 2, progress=False)


def test_a_scripted_player_of_numbers_instead_of_pictures_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"reads pictures, and .* CartPole-v1 has the shape \(4,\)"
    ):
        evaluate.evaluate("scripted:0.1", "CartPole-v1", 2, progress=False)


def test_a_zip_of_another_algorithm_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    paths = {}
    for name, make in (("ppo", PPO), ("a2c", A2C), ("dqn", DQN)):
        paths[name] = tmp_path / f"{name}.zip"
        make("MlpPolicy", "CartPole-v1", device="cpu").save(paths[name])
    space = gym.make("CartPole-v1").observation_space
    for algorithm, actual in itertools.product(paths, paths):
        if algorithm == actual:
            agent = saved.load(algorithm, paths[actual], space)
            assert agent.model.action_space == gym.spaces.Discrete(2)
        else:
            text = f"holds an agent of {actual}, not of {algorithm}"
            with pytest.raises(ConfigError, match=text):
                saved.load(algorithm, paths[actual], space)
    (tmp_path / "text.zip").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("readme", "no agent")
    for name in ("text", "other"):
        with pytest.raises(ConfigError, match=f"{name}.zip cannot be loaded as an agent of ppo"):
            saved.load("ppo", tmp_path / f"{name}.zip", space)


def test_no_environments_are_refused() -> None:
    with pytest.raises(ConfigError, match="envs names no environment"):
        evaluate.Config("random", envs=())
    with pytest.raises(ConfigError, match=r"greedy is True, and .random. has no likeliest action"):
        evaluate.Config("random", greedy=True)


def test_no_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="episodes is 0"):
        evaluate.evaluate("random", REAL, 0)


def test_an_agent_of_another_game_is_refused(tmp_path: Path) -> None:
    config = ppo.Config(env=HIDDEN, steps=32, num_envs=2, rollout=16, batch=32, out=tmp_path)
    with pytest.raises(ValueError, match="actions"):
        evaluate.evaluate(f"sb3:ppo:{ppo.train(config)}", REAL, 2, progress=False)


def test_evaluate_prints_the_dream_beside_the_real_game(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores" / "random.json"
    evaluate.main(evaluate.Config("random", (DREAM, REAL), episodes=4, num_envs=2, out=out))
    printed = capsys.readouterr().out
    assert DREAM in printed and REAL in printed and "sampled" in printed
    scores = json.loads(out.read_text())
    assert [score["env"] for score in scores] == [DREAM, REAL]
    assert all(len(score["returns"]) == 4 for score in scores)
    assert scores[1]["mean"] == pytest.approx(np.mean(scores[1]["returns"]))
