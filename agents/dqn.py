"""DQN (Mnih et al. 2015), in a dream or in the real game: the same command, the same agent.

    python -m dfgym.agents.dqn --env DFWorld/minatar-breakout-v0 --out runs/dream-dqn
    python -m dfgym.agents.dqn --env DFReal/minatar-breakout-v0 --out runs/real-dqn

Writes `agent.zip`, `config.json` and `progress.csv` (Stable-Baselines3's own log) to `--out`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium as gym
from msgspec import Meta
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from dfgym import checks
from dfgym.agents import sb3
from dfgym.agents.sb3 import Count, Minutes, Progress, Rate, Seed, Share, WholeFrameCNN
from dfgym.errors import ConfigError


@dataclass(frozen=True)
class Config:
    """One training run; the defaults suit MinAtar Breakout."""

    env: str = "DFWorld/minatar-breakout-v0"
    """Gymnasium id with image observations: `DFWorld/...` (the dream), `DFReal/...` (its twin), or
    a game's own, also as `module:id` or `module:Class`."""
    steps: Count = 500_000
    """Environment steps, summed over all copies."""
    minutes: Minutes | None = None
    """Stop after this time even if the steps are not done."""
    seed: Seed = 0
    """Seed of the agent; the environments' seeds count up from it, row by row."""
    out: Path = Path("runs/dqn")
    """Folder to write to; an agent that is there is replaced."""
    num_envs: Count = 16
    """Copies of the environment that play side by side."""
    frame_stack: Count = 1
    """Frames in an observation, newest last: more than 1 where motion matters."""
    updates: Count = 4
    """Gradient steps after each step of all copies."""
    batch: Count = 64
    """Transitions in a gradient step."""
    learning_rate: Rate = 3e-4
    """Adam's learning rate."""
    gamma: Share = 0.98
    """Discount for each step."""
    memory: Count = 50_000
    """Transitions in the replay buffer; one of 40x40 takes 10 kB."""
    learning_starts: Annotated[int, Meta(ge=0)] = 5_000
    """Steps played at random before the first update."""
    target_every: Count = 4_000
    """Environment steps between two copies of the network into the target network."""
    explore: Share = 0.1
    """First share of the training, in which the share of random actions falls from 1."""
    final_epsilon: Share = 0.02
    """Share of random actions at the end of that, and from then on."""
    device: str = "auto"
    """Where the agent computes: `auto`, `cpu` or `cuda`. The world chooses its own."""
    threads: Count | None = None
    """Torch's CPU threads, for agent and dream; by default those of OMP_NUM_THREADS, or 1: networks
    this small are slower with more."""
    trust: bool = False
    """Let `DFReal/...` import the modules that its world's card names, which runs them."""

    def __post_init__(self) -> None:
        """Refuse values that are not allowed."""
        checks.check(self, ConfigError)


def train(config: Config, callback: BaseCallback | None = None) -> Path:
    """Train an agent and return the path of its `agent.zip`; see `sb3.train`.

    Args:
        config: what to train, where and how long.
        callback: one of SB3's, called besides the progress bar.
    """

    def build(venv: VecEnv) -> DQN:
        if not isinstance(venv.action_space, gym.spaces.Discrete):
            raise ConfigError(
                f"{config.env} has actions {venv.action_space}; DQN chooses among Discrete actions "
                "alone: train with dfgym.agents.ppo"
            )
        return DQN(
            "CnnPolicy",
            venv,
            learning_rate=config.learning_rate,
            buffer_size=config.memory,
            learning_starts=config.learning_starts,
            batch_size=config.batch,
            gamma=config.gamma,
            train_freq=1,
            gradient_steps=config.updates,
            target_update_interval=config.target_every,
            exploration_fraction=config.explore,
            exploration_final_eps=config.final_epsilon,
            policy_kwargs={"features_extractor_class": WholeFrameCNN},
            seed=config.seed,
            device=config.device,
        )

    others = [] if callback is None else [callback]
    return sb3.train(config, build, [Progress(config.steps, config.minutes), *others])


if __name__ == "__main__":
    sys.exit(sb3.main(Config, lambda config: print(f"wrote {train(config)}"), __doc__))
