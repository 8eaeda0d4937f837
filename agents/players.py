"""The players that record data, by name, e.g. `random`, `scripted:0.1`, `sb3:ppo:FILE`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dfgym.errors import ConfigError
from dfgym.games.source import Source

VERSION = 2
"""Of all players here and in `agents`: raise it when one plays otherwise than before."""
HOLD = 0.8  # probability that sticky-random repeats its last action: 5 steps on average
FORMS = "random, sticky-random, scripted:<epsilon>[:<dawdle>], sb3:<algorithm>:<zip file>"

Player = Callable[[Any, np.ndarray], int]  # of the observation and the frame
Policy = Callable[[np.random.SeedSequence], Player]  # makes a player for one episode


def make_policy(name: str, env_id: str, source: Source) -> Policy:
    """Find a policy by its name.

    Args:
        name: one of `FORMS`; epsilon is the share of random actions, dawdle that in which
            the player does not play well but shows what it else would not, see `agents.scripted`.
        env_id: what is played; scripted players know some games only.
        source: the environment.

    Raises:
        ConfigError: the name is malformed, or the policy does not fit the environment.
    """
    match name.split(":", 2):
        case ["random"]:
            return lambda seed: _random(source.num_actions, 0.0, seed)
        case ["sticky-random"]:
            return lambda seed: _random(source.num_actions, HOLD, seed)
        case ["scripted", *shares]:
            return _scripted(env_id, name, shares)
        case ["sb3", algorithm, path]:
            return _sb3(algorithm, path, source)
        case _:
            raise ConfigError(f"policy {name!r} is unknown; it must be one of {FORMS}")


def _random(actions: int, hold: float, seed: np.random.SeedSequence) -> Player:
    generator = np.random.default_rng(seed)
    last = int(generator.integers(actions))

    def play(observation: Any, frame: np.ndarray) -> int:
        nonlocal last
        if not hold or generator.random() >= hold:
            last = int(generator.integers(actions))
        return last

    return play


def _scripted(env_id: str, name: str, shares: Sequence[str]) -> Policy:
    from dfgym.games import breakout as scripted

    try:
        epsilon, dawdle = (*map(float, shares), 0.0)[:2]
        scripted.make(env_id, epsilon, dawdle=dawdle)
    except ValueError as reason:
        raise ConfigError(f"policy {name!r} for {env_id}: {reason}; allowed: {FORMS}") from reason

    def begin(seed: np.random.SeedSequence) -> Player:
        player = scripted.make(env_id, epsilon, seed, dawdle)
        return lambda observation, frame: player(frame)

    return begin


def _sb3(algorithm: str, path: str, source: Source) -> Policy:
    from dfgym.agents import saved  # SB3's files are pickles; only agents/ opens them

    try:
        agent = saved.load(algorithm, path, source.env.observation_space)
    except (ValueError, OSError) as reason:
        raise ConfigError(f"policy 'sb3:{algorithm}:{path}': {reason}") from reason
    if agent.num_actions != source.num_actions:
        raise ConfigError(
            f"policy 'sb3:{algorithm}:{path}' knows {agent.num_actions} actions and "
            f"the environment has {source.num_actions}; record with an agent of this game"
        )

    def begin(seed: np.random.SeedSequence) -> Player:
        play = agent.begin()
        return lambda observation, frame: play(observation)

    return begin
