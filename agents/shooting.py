"""Planning by shooting in a dream while playing the real game: for actions of every kind.

    python -m dfgym.agents.shooting --world cartpole-pixels-v0 --episodes 4 --num-envs 4
    python -m dfgym.agents.shooting --world cartpole-pixels-v0 --method mppi --shooting.samples 32

At every step the dream stands where the game stands (`Dynamics.observe`). Plans are drawn and
dreamed from there, better ones drawn near the best, and the first action of the best is played; the
rest of it is where the next decision begins. It needs no outcomes, and no agent. See
`dfgym.planning.shooting`.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
from msgspec import Meta
from tqdm import tqdm

from dfgym import checks
from dfgym.agents import evaluate, flat, sb3
from dfgym.agents.sb3 import Count, Seed
from dfgym.agents.search import follow
from dfgym.device import use_threads
from dfgym.errors import ConfigError
from dfgym.planning import shooting
from dfgym.planning.model import copy_rows
from dfgym.planning.shooting import Shooting

Method = Literal["icem", "mppi"]


@dataclass(frozen=True)
class Config:
    """What plays, where it plans, and how much."""

    world: str = "cartpole-pixels-v0"
    """The world to plan in: its name, or the path of its folder."""
    env: str = ""
    """Gymnasium id to play; by default the world's real game, `DFReal/<world>`."""
    method: Method = "icem"
    """`icem` keeps the best plans, `mppi` weighs all by their returns."""
    shooting: Shooting = field(default_factory=Shooting)
    """How plans are drawn."""
    discount: Annotated[float, Meta(gt=0, le=1)] = 0.99
    """Of rewards, a step."""
    episodes: Count = 4
    """Episodes to play."""
    num_envs: Count = 4
    """Games that are played side by side; all their plans pass the network together."""
    seed: Seed = 10_000
    """Of the games, row by row, and of the plans."""
    out: Path | None = None
    """JSON file for the score and every episode."""
    threads: Count | None = None
    """Torch's CPU threads; by default those of OMP_NUM_THREADS, or 1."""

    def __post_init__(self) -> None:
        """Refuse what cannot be played."""
        checks.check(self, ConfigError)


class Shooter:
    """Plays rows of a game by plans that are dreamed.

    Attributes:
        dynamics: a row for each game, which it follows.
        imagination: a row for each plan of each game.
        plan: the present one.
        decisions: how many actions have been chosen.
        seconds: how long that took.
    """

    def __init__(
        self, dream: Any, config: Shooting, method: Method, discount: float, seed: int
    ) -> None:
        """Prepare to plan.

        Args:
            dream: a dream's vector environment, a row for each game.
            config: how plans are drawn.
            method: how they are improved.
            discount: of rewards, a step.
            seed: of the plans.

        Raises:
            ConfigError: so many plans would not fit into memory, or are longer than an episode.
        """
        self.dynamics: Any = dream.dynamics
        self.limit = self.dynamics.world.card.episode.max_steps
        if config.horizon > self.limit:
            raise ConfigError(
                f"shooting.horizon is {config.horizon}, and an episode of "
                f"{self.dynamics.world.card.name} has {self.limit} steps; plan for as many at most"
            )
        self.config, self.method = config, method
        self.discount, self.generator = discount, np.random.default_rng(seed)
        games = dream.num_envs
        plans = config.samples + round(config.kept * config.elites) + 1
        self.imagination = copy_rows(self.dynamics, np.arange(games).repeat(plans))
        self.space = self.dynamics.world.card.actions
        self.plan = shooting.begin(self.space, games, config)
        self.actions, self.age = self.space.fill(games), np.zeros(games, np.int64)
        self.decisions, self.seconds = 0, 0.0

    def __call__(self, observations: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """Choose every game's action, see `dfgym.agents.search.Planner`."""
        began = time.perf_counter()
        follow(self.dynamics, observations, begins, self.actions, self.generator)
        for array in (self.plan.mean, self.plan.elites):
            array[begins] = 0
        state = self.dynamics.get_state(np.arange(len(begins)))
        self.age = np.where(begins, 0, self.age + 1)
        left = np.maximum(1, self.limit - self.age)
        score = shooting.dream_returns(self.imagination, state, self.discount, left)
        match self.method:
            case "icem":
                improve = shooting.icem
            case "mppi":
                improve = shooting.mppi
        plan = improve(score, self.space, self.plan, self.config, self.generator)
        best = plan.best
        if self.method == "mppi":  # which proposes its mean
            best = shooting.decode(self.space, plan.mean)
        self.actions, self.plan = best[:, 0].copy(), shooting.shift(plan)
        self.decisions += len(begins)
        self.seconds += time.perf_counter() - began
        return self.actions.copy()


def main(config: Config) -> evaluate.Score:
    """Play the game, print the table, write the file."""
    use_threads("planning", config.threads)
    rows = min(config.num_envs, config.episodes)
    dream: Any = gym.make_vec("DFWorld-v0", num_envs=rows, world=config.world)
    shooter = Shooter(dream, config.shooting, config.method, config.discount, config.seed)
    env = config.env or f"DFReal/{dream.dynamics.world.card.name}"
    venv = sb3.make_venv(env, rows)
    try:
        own, space = venv.action_space, shooter.space

        def play(observations: np.ndarray, begins: np.ndarray) -> Any:
            return flat.to_batch(own, space, shooter(observations, begins))

        if own != dream.single_action_space:
            raise ConfigError(
                f"{env} has actions {own} and the world {dream.single_action_space}; they must be "
                "equal"
            )
        with tqdm(total=config.episodes, desc=env, unit="episode") as bar:
            played = evaluate.play_episodes(venv, play, config.episodes, config.seed, bar)
    finally:
        venv.close()
        dream.close()
    score = evaluate.Score(config.method, env, False, config.seed, *played)
    print(f"{config.method}, {config.episodes} episodes")
    print(evaluate.table([score]))
    rate = shooter.decisions / shooter.seconds
    print(f"{rate:.1f} decisions a second, {rows} games side by side")
    if config.out is not None:
        record = score.to_dict() | {"shooting": checks.to_plain(config.shooting)}
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps(record | {"decisions_per_second": rate}, indent=2) + "\n")
    return score


if __name__ == "__main__":
    sys.exit(sb3.main(Config, main, __doc__))
