"""PPO (Schulman et al. 2017), in a dream or in the real game: the same command, the same agent.

    python -m dfgym.agents.ppo --env DFWorld/minatar-breakout-v0 --out runs/dream
    python -m dfgym.agents.ppo --env DFReal/minatar-breakout-v0 --out runs/real

Writes `agent.zip`, `config.json` and `progress.csv` (Stable-Baselines3's own log) to `--out`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import ConstantSchedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

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
    out: Path = Path("runs/ppo")
    """Folder to write to; an agent that is there is replaced."""
    num_envs: Count = 32
    """Copies of the environment that play side by side."""
    frame_stack: Count = 1
    """Frames in an observation, newest last: more than 1 where motion matters."""
    standardize: bool = False
    """Standardise each observation to mean 0 and deviation 1, for games on a bright ground."""
    normalize_rewards: bool = False
    """Divide rewards by the running deviation of returns (SB3's `VecNormalize`): where values are
    large, their error drowns the policy in the layers that both share."""
    rollout: Count = 64
    """Steps that each copy plays between two updates."""
    batch: Annotated[int, Meta(ge=2)] = 256
    """Transitions in a gradient step."""
    epochs: Count = 4
    """Passes of an update over the transitions."""
    learning_rate: Rate = 1e-3
    """Adam's learning rate at the start; it falls to 0 linearly."""
    gamma: Share = 0.98
    """Discount for each step."""
    gae_lambda: Share = 0.9
    """Lambda of generalised advantage estimation (Schulman et al. 2016)."""
    entropy: Rate = 0.01
    """Weight of the entropy bonus."""
    device: str = "auto"
    """Where the agent computes: `auto`, `cpu` or `cuda`. The world chooses its own."""
    threads: Count | None = None
    """Torch's CPU threads, for agent and dream; by default those of OMP_NUM_THREADS, or 1: networks
    this small are slower with more."""
    trust: bool = False
    """Let `DFReal/...` import the modules that its world's card names, which runs them."""
    luck: float = 0.0
    """Of a dream: how kind its chance is while the agent learns, below 0 harsher than the game's.
    Outcomes are worth what the agent itself holds them for, see `dfgym.world.luck`."""

    def __post_init__(self) -> None:
        """Refuse values that are not allowed."""
        checks.check(self, ConfigError)
        if self.luck and not self.env.removeprefix("dfgym:").startswith("DFWorld"):
            raise ConfigError(
                f"luck is {self.luck}, and {self.env} is no dream, whose chance could be bent; "
                "leave it out"
            )
        if self.luck and self.frame_stack > 1:
            raise ConfigError(
                f"luck is {self.luck} and frame_stack {self.frame_stack}; an outcome is valued by "
                "its one frame, so that one of them must be left out"
            )


class Anneal(BaseCallback):
    """Lower the learning rate to 0 with the share of the training that is over."""

    def __init__(self, rate: float, progress: Progress) -> None:
        super().__init__()
        self.rate, self.progress = rate, progress

    def _on_rollout_end(self) -> None:
        self.model.lr_schedule = ConstantSchedule(self.rate * (1 - self.progress.done))

    def _on_step(self) -> bool:
        return True


def train(config: Config, callback: BaseCallback | None = None) -> Path:
    """Train an agent and return the path of its `agent.zip`; see `sb3.train`.

    Args:
        config: what to train, where and how long.
        callback: one of SB3's, called besides the progress bar.
    """
    progress = Progress(config.steps, config.minutes)

    def build(venv: VecEnv) -> PPO:
        if config.normalize_rewards:
            venv = VecNormalize(venv, norm_obs=False, gamma=config.gamma)
        agent = PPO(
            "CnnPolicy",
            venv,
            n_steps=config.rollout,
            batch_size=config.batch,
            n_epochs=config.epochs,
            learning_rate=config.learning_rate,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            ent_coef=config.entropy,
            policy_kwargs={
                "features_extractor_class": WholeFrameCNN,
                "features_extractor_kwargs": {"standardize": config.standardize},
            },
            seed=config.seed,
            device=config.device,
        )
        if config.luck:
            judge_outcomes(agent, venv.get_attr("dynamics")[0])
        return agent

    others = [] if callback is None else [callback]
    callbacks = [progress, Anneal(config.learning_rate, progress), *others]
    keywords = {"luck": config.luck} if config.luck else {}
    return sb3.train(config, build, callbacks, **keywords)


def judge_outcomes(agent: PPO, dynamics: Any) -> None:
    """Let an agent's values, as they are learned, say what the outcomes of a dream are worth.

    Args:
        agent: learns in the dream.
        dynamics: the dream's.
    """
    height = agent.observation_space.shape[1]  # type: ignore[index]  # (c, h, w)
    scale = height // dynamics.world.card.frames.height

    @torch.inference_mode()
    def judge(frames: np.ndarray) -> np.ndarray:
        large = frames.repeat(scale, axis=1).repeat(scale, axis=2)
        observations, _ = agent.policy.obs_to_tensor(large)
        return np.asarray(agent.policy.predict_values(observations)[:, 0].double().cpu().numpy())

    dynamics.judge = judge


if __name__ == "__main__":
    sys.exit(sb3.main(Config, lambda config: print(f"wrote {train(config)}"), __doc__))
