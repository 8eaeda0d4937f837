"""Score an agent in several environments side by side: the dream beside the real game.

    python -m dfgym.agents.evaluate --agent sb3:ppo:runs/dream/agent.zip
    python -m dfgym.agents.evaluate --agent scripted:0.2 --envs DFReal/minatar-breakout-v0

Stable-Baselines3's zip files are pickles, and to load one is to run what its author put there: give
none but your own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack
from tqdm import tqdm

from dfgym import checks
from dfgym.actions import ActionSpace
from dfgym.agents import flat, players, saved, sb3
from dfgym.agents.sb3 import Count, Seed, make_venv
from dfgym.device import use_threads
from dfgym.errors import ConfigError
from dfgym.games import Policy, RandomPolicy
from dfgym.games.spaces import describe
from dfgym.statistics import bootstrap_interval, interquartile_mean

BatchPolicy = Callable[[np.ndarray, np.ndarray], Any]
"""From a batch of observations, and which of them begin an episode, to a batch of actions."""


@dataclass(frozen=True)
class Config:
    """What is scored, where and how often."""

    agent: str
    """A player's name: random, sticky-random, scripted:<epsilon>[:<dawdle>],
    sb3:<algorithm>:<zip file> or search:<simulations>[:<zip file>]."""
    envs: tuple[str, ...] = ("DFWorld/minatar-breakout-v0", "DFReal/minatar-breakout-v0")
    """Gymnasium ids, scored one after the other."""
    episodes: Count = 100
    """Episodes in each environment."""
    seed: Seed = 10_000
    """Of the environments, row by row, of the agent's chance and of the bootstrap; far from 0,
    where trainings begin to count."""
    greedy: bool = False
    """Take the likeliest action of an SB3 agent or a search; otherwise actions are sampled, as in
    training."""
    num_envs: Count = 32
    """Episodes that are played side by side."""
    out: Path | None = None
    """JSON file for the scores and every episode."""
    threads: Count | None = None
    """Torch's CPU threads; by default those of OMP_NUM_THREADS, or 1."""
    trust: bool = False
    """Let `DFReal/...` import the modules that its world's card names, which runs them."""

    def __post_init__(self) -> None:
        """Refuse what cannot be scored."""
        checks.check(self, ConfigError)
        if not self.envs:
            raise ConfigError("envs names no environment; give one Gymnasium id or more")
        if self.greedy and players.parse(self.agent).kind not in ("sb3", "search"):
            raise ConfigError(
                f"greedy is True, and {self.agent!r} has no likeliest action; it is of sb3 agents "
                "and of search"
            )


@dataclass(frozen=True)
class Score:
    """The episodes that an agent played in one environment; order means nothing."""

    agent: str
    env: str
    greedy: bool
    seed: int
    returns: np.ndarray
    """float64 `(n,)`: each episode's undiscounted return."""
    lengths: np.ndarray
    """int64 `(n,)`: each episode's steps."""
    uncertainty: float | None = None
    """The mean of `info["uncertainty"]` over all steps; None in a game that has none."""

    @property
    def mean(self) -> float:
        """The mean return."""
        return float(self.returns.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of the mean, over episodes."""
        return bootstrap_interval(self.returns, lambda samples: samples.mean(-1), self.seed)

    @property
    def iqm(self) -> float:
        """The interquartile mean return (Agarwal et al. 2021)."""
        return float(interquartile_mean(self.returns))

    @property
    def iqm_interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of the interquartile mean, over episodes."""
        return bootstrap_interval(self.returns, interquartile_mean, self.seed)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; `uncertainty` only where there is one."""
        extra = {} if self.uncertainty is None else {"uncertainty": self.uncertainty}
        return extra | {
            "agent": self.agent,
            "env": self.env,
            "greedy": self.greedy,
            "seed": self.seed,
            "episodes": len(self.returns),
            "mean": self.mean,
            "interval": self.interval,
            "iqm": self.iqm,
            "iqm_interval": self.iqm_interval,
            "returns": self.returns.tolist(),
            "lengths": self.lengths.tolist(),
        }


def evaluate(
    agent: str,
    env: str,
    episodes: int = 100,
    seed: int = 10_000,
    greedy: bool = False,
    num_envs: int = 32,
    progress: bool = True,
    **make_keywords: Any,
) -> Score:
    """Play whole episodes; the same arguments give the same score.

    Every row plays its share of the episodes, however long they are: the first so many to end
    anywhere would be the short ones.

    Args:
        agent: a player's name, see `dfgym.agents.players`.
        env: a Gymnasium id.
        episodes: how many, over all rows.
        seed: row i of the environment begins with seed + i; the agent's chance follows from it
            too. With an SB3 agent that is torch's and NumPy's global generators.
        greedy: an SB3 agent's likeliest action, instead of a sampled one.
        num_envs: rows.
        progress: draw a progress bar.
        make_keywords: for `gymnasium.make`.

    Raises:
        ConfigError: the agent is malformed, missing or does not fit, there is no such environment,
            or a number is out of range.
    """
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}; it must be at least 1")
    venv = make_venv(env, min(num_envs, episodes), **make_keywords)
    try:
        play, frame_stack = find_policy(agent, env, venv, seed, greedy)
        if frame_stack > 1:
            venv = VecFrameStack(venv, frame_stack)
        with tqdm(total=episodes, desc=env, unit="episode", disable=not progress) as bar:
            doubts: list[float] = []
            returns, lengths = play_episodes(venv, play, episodes, seed, bar, uncertainties=doubts)
    finally:
        venv.close()
    mean = float(np.mean(doubts)) if doubts else None
    return Score(agent, env, greedy, seed, returns, lengths, mean)


def play_episodes(
    venv: VecEnv,
    play: BatchPolicy,
    episodes: int,
    seed: int,
    bar: tqdm[Any],
    finish: Callable[[int], None] = lambda row: None,
    uncertainties: list[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Play whole episodes, every row its share; returns and lengths, in the order of their ends.

    Args:
        venv: rows of an environment, seeded here.
        play: chooses all rows' actions.
        episodes: how many, over all rows.
        seed: row i begins with seed + i.
        bar: counts the episodes.
        finish: is called with a row that has played its share; its further actions do not matter.
        uncertainties: is given that of every step of an episode that counts, if the game tells it.
    """
    rows = venv.num_envs
    missing = np.full(rows, episodes // rows)
    missing[: episodes % rows] += 1
    returns, lengths = [], []
    venv.seed(seed)
    observations, begins = venv.reset(), np.ones(rows, bool)
    while missing.any():
        assert isinstance(observations, np.ndarray)
        observations, _, begins, infos = venv.step(play(observations, begins))
        if uncertainties is not None and "uncertainty" in infos[0]:
            rows_left = np.flatnonzero(missing > 0).tolist()
            uncertainties += [float(infos[row]["uncertainty"]) for row in rows_left]
        for row in np.flatnonzero(begins & (missing > 0)).tolist():
            returns.append(infos[row]["episode"]["r"])
            lengths.append(infos[row]["episode"]["l"])
            missing[row] -= 1
            bar.update()
            if not missing[row]:
                finish(row)
    return np.array(returns, float), np.array(lengths, int)


def find_policy(
    agent: str, env: str, venv: VecEnv, seed: int, greedy: bool
) -> tuple[BatchPolicy, int]:
    """Find a player by its name, for all rows of an environment.

    Returns:
        The policy, and the number of frames that it needs at once.

    Raises:
        ConfigError: The name is malformed, or the agent is missing or does not fit the environment.
    """
    own, rows = venv.action_space, venv.num_envs
    space = describe(own, env)
    seeds = np.random.SeedSequence(seed).spawn(rows)
    player = players.parse(agent)
    match player.kind:
        case "random":
            generator = np.random.default_rng(seed)
            return lambda *_: flat.to_batch(own, space, space.sample(generator, rows)), 1
        case "sticky-random":
            held = [RandomPolicy(space, item, players.HOLD) for item in seeds]
            return _by_row(held, own, space), 1
        case "scripted":
            size = venv.observation_space.shape or ()
            if len(size) != 3:
                raise ConfigError(
                    f"player {agent!r} reads pictures, and an observation of {env} has the shape "
                    f"{size}; expected (h, w, 3), as of the real game of a world, DFReal/..."
                )
            make = players.make_scripted
            return _by_row([make(player, env, size, item) for item in seeds], own, space), 1
        case "module":
            raise ConfigError(
                f"player {agent!r} plays one environment in its own form; expected are random, "
                "sticky-random, scripted and sb3"
            )
        case "sb3":
            if player.wrappers:
                raise ConfigError(
                    f"player {agent!r} has wrappers, with which it can only record; leave them out"
                )
            saved_agent = saved.load(player.algorithm, player.file, venv.observation_space)
            try:
                read = flat.find_reader(saved_agent.model.action_space, own, env)
            except ConfigError as reason:
                raise ConfigError(f"{player.file}: {reason}; they must be equal") from reason
            set_random_seed(seed)
            choose = saved_agent.begin_rows(greedy)

            def play(observations: np.ndarray, begins: np.ndarray) -> Any:
                return flat.to_batch(own, space, read(choose(observations, begins)))

            return play, saved_agent.frame_stack
        case "search":
            from dfgym.agents.search import plan_for  # which imports this

            return plan_for(player, env, rows, seed, 0.0 if greedy else 1.0), 1


def _by_row(policies: Sequence[Policy], own: gym.Space[Any], space: ActionSpace) -> BatchPolicy:
    def play(observations: np.ndarray, begins: np.ndarray) -> Any:
        for row in np.flatnonzero(begins).tolist():
            policies[row].reset()
        rows = [p(frame) for p, frame in zip(policies, observations, strict=True)]
        return flat.to_batch(own, space, space.stack(rows))

    return play


def table(scores: Sequence[Score]) -> str:
    """Lay scores out side by side as text."""
    width = max(len(score.env) for score in scores)
    lines = [f"{'':{width}}    mean   95 % interval     IQM   95 % interval    steps"]
    for score in scores:
        (low, high), (iqm_low, iqm_high) = score.interval, score.iqm_interval
        lines.append(
            f"{score.env:{width}}  {score.mean:6.2f}  {low:5.2f} to {high:5.2f}  "
            f"{score.iqm:6.2f}  {iqm_low:5.2f} to {iqm_high:5.2f}  {score.lengths.mean():7.1f}"
        )
    return "\n".join(lines)


def main(config: Config) -> list[Score]:
    """Score an agent in each environment, print the table, write the file."""
    use_threads("an agent's evaluation", config.threads)
    for env in config.envs:  # what cannot be made is said before others are played
        make_venv(env, 1, **sb3.make_keywords(env, config.trust)).close()
    scores = [
        evaluate(
            config.agent,
            env,
            config.episodes,
            config.seed,
            config.greedy,
            config.num_envs,
            **sb3.make_keywords(env, config.trust),
        )
        for env in config.envs
    ]
    sampling = "greedy" if config.greedy else "sampled"
    print(f"{config.agent}, {config.episodes} episodes each, {sampling} actions")
    print(table(scores))
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps([score.to_dict() for score in scores], indent=2) + "\n")
    return scores


if __name__ == "__main__":
    sys.exit(sb3.main(Config, main, __doc__))
