"""The agent that plans in the dream and plays the real game."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import A2C, DQN, PPO

from dfgym.agents import evaluate, players, search
from dfgym.agents.players import make_factory
from dfgym.errors import ConfigError
from dfgym.games.source import Opening, open_source
from dfgym.planning.model import copy_rows
from dfgym.planning.search import SearchConfig
from toys.game import DREAM, HIDDEN, NAME, REAL

pytestmark = pytest.mark.usefixtures("toy_ids")

SIZE = (10, 10)


class Shape(gym.Env[np.ndarray, Any]):
    """Spaces alone, for agents that never learn."""

    def __init__(self, size: int = 40, channels: int = 3, actions: int = 3) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (size, size, channels), np.uint8)
        self.action_space = gym.spaces.Discrete(actions)


def agent(path: Path, kind: Any = PPO, **shape: int) -> Path:
    """Save an agent that has learned nothing."""
    settings = {DQN: {"buffer_size": 10}, A2C: {}, PPO: {"n_steps": 4, "batch_size": 4}}[kind]
    kind("CnnPolicy", Shape(**shape), device="cpu", seed=0, **settings).save(path)
    return path


@pytest.mark.parametrize("kind", [PPO, A2C])
def test_a_prior_is_the_agents_policy_and_value(tmp_path: Path, kind: Any) -> None:
    path = agent(tmp_path / "agent.zip", kind)
    prior = search.Prior(path, SIZE, 3)
    frames = np.random.default_rng(0).integers(0, 256, (5, 10, 10, 3)).astype(np.uint8)
    evaluation = prior.judge(frames)
    model = kind.load(path, device="cpu")
    large = frames.repeat(4, 1).repeat(4, 2)
    assert np.array_equal(evaluation.logits.argmax(1), model.predict(large, deterministic=True)[0])
    tensor, _ = model.policy.obs_to_tensor(large)
    assert np.allclose(evaluation.value, model.policy.predict_values(tensor)[:, 0].detach())
    assert prior.discount == model.gamma


def test_a_prior_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="an agent of dqn"):
        search.Prior(agent(tmp_path / "dqn.zip", DQN), SIZE, 3)
    with pytest.raises(ConfigError, match=r"Discrete\(4\)"):
        search.Prior(agent(tmp_path / "four.zip", actions=4), SIZE, 3)
    with pytest.raises(ConfigError, match="2 frames"):
        search.Prior(agent(tmp_path / "two.zip", channels=6), SIZE, 3)
    with pytest.raises(ConfigError, match="observations"):
        search.Prior(agent(tmp_path / "large.zip", size=50), (11, 11), 3)
    with pytest.raises(ConfigError, match="no file"):
        search.Prior(tmp_path / "none.zip", SIZE, 3)


def test_planners_follow_the_game(tmp_path: Path) -> None:
    """After every action each row of the dream shows its game's frame, however episodes begin."""
    dream = search.open_dream(REAL, 3)
    prior = search.Prior(agent(tmp_path / "agent.zip"), SIZE, 3)
    planner = search.Planner(dream, prior, SearchConfig(3, gumbel_scale=0), 0)
    games = [gym.make(REAL) for _ in range(3)]
    frames = np.stack([game.reset(seed=i)[0] for i, game in enumerate(games)])
    begins = np.ones(3, bool)
    for _ in range(12):
        actions = planner(frames, begins)
        assert planner.decision is not None
        assert (planner.decision.visits.sum(1) == 3).all()
        assert np.array_equal(dream.dynamics.frames(), frames[:, ::4, ::4])
        for row, game in enumerate(games):
            frames[row], _, ended, _, _ = game.step(actions[row])
            begins[row] = ended
            if ended:
                frames[row], _ = game.reset()
    assert planner.decisions == 36 and planner.seconds > 0


def test_games_that_are_over_cost_nothing(tmp_path: Path) -> None:
    """The dream shrinks to the games that go on, and follows them as before."""
    dream = search.open_dream(REAL, 4)
    prior = search.Prior(agent(tmp_path / "agent.zip"), SIZE, 3)
    config = SearchConfig(3, gumbel_scale=0)
    whole, shrinking = (search.Planner(dream, prior, config, 0) for _ in range(2))
    shrinking.dynamics = copy_rows(dream.dynamics, np.arange(4))
    shrinking._begin()
    games = [gym.make(REAL) for _ in range(4)]
    frames = np.stack([game.reset(seed=i)[0] for i, game in enumerate(games)])
    begins = np.ones(4, bool)
    for step in range(6):
        actions, same = whole(frames, begins), shrinking(frames, begins)
        goes_on = [1, 3] if step > 2 else [0, 1, 3] if step == 2 else [0, 1, 2, 3]
        assert np.array_equal(actions[goes_on], same[goes_on])
        frames = np.stack([g.step(a)[0] for g, a in zip(games, actions, strict=True)])
        begins = np.zeros(4, bool)
        if step in (1, 2):
            shrinking.finish(2 if step == 1 else 0)
    assert shrinking.dynamics.num_rows == 2 and shrinking.decisions == 3 * 4 + 3 * 2
    assert np.array_equal(shrinking.dynamics.frames(), whole.dynamics.frames()[[1, 3]])


def test_without_simulations_the_prior_plays(tmp_path: Path) -> None:
    path = agent(tmp_path / "agent.zip")
    greedy = evaluate.evaluate(f"sb3:ppo:{path}", REAL, 6, greedy=True, num_envs=3, progress=False)
    planned = evaluate.evaluate(f"search:0:{path}", REAL, 6, num_envs=3, progress=False)
    assert np.array_equal(greedy.returns, planned.returns)


@pytest.mark.parametrize("env", [REAL, DREAM])
def test_a_search_without_an_agent_scores_and_repeats(env: str) -> None:
    scores = [
        evaluate.evaluate("search:2", env, 2, seed, num_envs=2, progress=False) for seed in (1, 1)
    ]
    assert np.array_equal(scores[0].returns, scores[1].returns)
    assert np.array_equal(scores[0].lengths, scores[1].lengths)


def test_the_page_and_recordings_know_the_player(tmp_path: Path) -> None:
    path = agent(tmp_path / "agent.zip")
    source = open_source(Opening("DFSource/MinAtar-Breakout-v0", size=SIZE))
    factory = make_factory(f"search:2:{path}", "DFSource/MinAtar-Breakout-v0", source)
    observation, _ = source.env.reset(seed=0)
    play = factory(np.random.SeedSequence(0))
    for _ in range(5):
        action = play(observation, source.frame(observation))
        assert type(action) is int and 0 <= action < 3
        observation, *_ = source.env.step(source.to_env(action))


@pytest.mark.parametrize(
    ("name", "env", "text"),
    [
        ("search", REAL, "unknown"),
        ("search:-2", REAL, "unknown"),
        ("search:x", REAL, "unknown"),
        ("search:0", REAL, "needs an agent"),
        ("search:5000", REAL, "simulations"),
        ("search:2:none.zip", REAL, "no file none.zip"),
        ("search:2", HIDDEN, "no dream to plan in"),
    ],
)
def test_a_search_that_cannot_play_is_refused(name: str, env: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        evaluate.evaluate(name, env, 2, progress=False)


def test_a_path_may_have_colons() -> None:
    assert players.parse("search:8:C:/agent.zip").file == "C:/agent.zip"


def test_the_command_prints_the_table_and_writes_the_score(
    tmp_path: Path, toy_ids: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores" / "search.json"
    score = search.main(
        search.Config(
            world=str(toy_ids), env=REAL, simulations=2, rollout=1, episodes=2, num_envs=2, out=out
        )
    )
    printed = capsys.readouterr().out
    assert REAL in printed and "decisions a second, " in printed and "95 % interval" in printed
    assert "a processor-second" in printed
    record = json.loads(out.read_text())
    assert record["returns"] == score.returns.tolist() and record["simulations"] == 2
    assert NAME in record["env"]
    with pytest.raises(ConfigError, match="prior"):
        search.main(search.Config(world=str(toy_ids), env=REAL, simulations=0, episodes=2))
    with pytest.raises(ConfigError, match="actions"):
        search.main(search.Config(world=str(toy_ids), env=HIDDEN, simulations=1, episodes=2))
