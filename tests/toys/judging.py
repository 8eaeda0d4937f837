"""What every judge of a game must notice of rewards and ends; `judge` is a game's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dfgym.evaluation.rollout import Episode
from dfgym.games import Verdicts

Judge = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Verdicts]


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
