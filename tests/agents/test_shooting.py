"""The agent that shoots plans in the dream and plays the real game."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from dfgym.agents import shooting
from dfgym.agents.search import open_dream
from dfgym.agents.shooting import Config, Shooter
from dfgym.errors import ConfigError
from dfgym.planning.shooting import Shooting
from toys.game import HIDDEN, REAL

pytestmark = pytest.mark.usefixtures("toy_ids")

TINY = Shooting(horizon=2, samples=4, iterations=2, elites=2, kept=0.5)


@pytest.mark.parametrize("method", ["icem", "mppi"])
def test_shooters_follow_the_game(method: shooting.Method) -> None:
    """After every action each row of the dream shows its game's frame, however episodes begin."""
    dream = open_dream(REAL, 2)
    shooter = Shooter(dream, TINY, method, 0.9, 0)
    games = [gym.make(REAL) for _ in range(2)]
    frames = np.stack([game.reset(seed=i)[0] for i, game in enumerate(games)])
    begins = np.ones(2, bool)
    for _ in range(8):
        actions = shooter(frames, begins)
        assert actions.shape == (2,) and ((actions >= 0) & (actions < 3)).all()
        assert np.array_equal(dream.dynamics.frames(), frames[:, ::4, ::4])
        assert np.isfinite(shooter.plan.mean).all()
        for row, game in enumerate(games):
            frames[row], _, begins[row], _, _ = game.step(actions[row])
            if begins[row]:
                frames[row], _ = game.reset()
    assert shooter.decisions == 16
    limit = dream.dynamics.world.card.episode.max_steps
    assert limit < 1024
    with pytest.raises(ConfigError, match=f"has {limit} steps; plan for as many at most"):
        Shooter(dream, Shooting(horizon=limit + 1), method, 0.9, 0)


def test_the_command_prints_the_table_and_writes_the_score(
    tmp_path: Path, toy_ids: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "score.json"
    config = Config(str(toy_ids), REAL, shooting=TINY, episodes=2, num_envs=2, out=out)
    score = shooting.main(config)
    printed = capsys.readouterr().out
    assert REAL in printed and "decisions a second" in printed
    record = json.loads(out.read_text())
    assert record["returns"] == score.returns.tolist() and record["shooting"]["samples"] == 4
    with pytest.raises(ConfigError, match="actions"):
        shooting.main(Config(str(toy_ids), HIDDEN, shooting=TINY, episodes=2))
    with pytest.raises(ConfigError, match="discount"):
        Config(discount=0)
