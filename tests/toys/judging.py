"""Real episodes to judge, and what every judge must notice of them; `judge` is a game's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dfgym.evaluation.rollout import Episode
from dfgym.games import Policy, Verdicts
from dfgym.games.minatar import MinAtarEnv

Judge = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Verdicts]


def play_real(
    game: str, policy: Policy, seed: int, steps: int = 300, sticky: float = 0.1
) -> Episode:
    """Play one real episode of a MinAtar game, cut after some steps."""
    env = MinAtarEnv(game, sticky)
    policy.reset()
    observation, _ = env.reset(seed=seed)
    frames, played = [observation], []
    for _ in range(steps):
        action: Any = policy(observation)
        observation, reward, over, _, _ = env.step(action)
        frames.append(observation)
        played.append((action, reward, over))
        if over:
            break
    actions, rewards, ends = (np.array(column) for column in zip(*played, strict=True))
    return Episode(np.stack(frames), actions, rewards, ends, 0, seed)


def check_rewards_and_ends(judge: Judge, episode: Episode) -> None:
    """Spoil single rewards and an end of a lawful episode of rewards 0 and 1."""
    paid = np.flatnonzero(episode.rewards)[3]
    quiet = np.flatnonzero(episode.rewards == 0)[3]
    for at, reward in ((paid, 0.0), (quiet, 1.0), (paid, 2.0)):
        rewards = episode.rewards.copy()
        rewards[at] = reward
        verdicts = judge(episode.frames, episode.actions, rewards, episode.terminated)
        assert verdicts.legal.all()
        assert np.flatnonzero(verdicts.wrong).tolist() == [at]
    terminated = episode.terminated.copy()
    terminated[40] = True
    verdicts = judge(episode.frames, episode.actions, episode.rewards, terminated)
    assert np.flatnonzero(verdicts.wrong).tolist() == [40]


def check_play_after_the_end(judge: Judge, short: Episode) -> None:
    """Let an episode that has ended go on: wrong at its end, illegal after it."""
    assert short.terminated[-1]
    frames = np.concatenate([short.frames, short.frames[-1:]])
    actions, rewards = np.append(short.actions, 0), np.append(short.rewards, 0.0)
    verdicts = judge(frames, actions, rewards, np.zeros(len(actions), bool))
    assert verdicts.wrong.tolist() == [False] * (len(short) - 1) + [True, False]
    assert verdicts.legal.tolist() == [True] * len(short) + [False]
