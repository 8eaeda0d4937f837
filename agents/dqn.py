"""DQN (Mnih et al. 2015), in a dream or in the real game: the same command, the same agent.

    python -m dfgym.agents.dqn --env DFWorld/minatar-breakout-v0 --out runs/dream-dqn
    python -m dfgym.agents.dqn --env DFReal/minatar-breakout-v0 --out runs/real-dqn

Writes `agent.zip`, `config.json` and `progress.csv` (Stable-Baselines3's own log) to `--out`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from dfgym.agents.sb3 import (
    COUNT,
    MAX_SEED,
    SHARE,
    Progress,
    WholeFrameCNN,
    check,
    main,
    open_training,
    save,
)


@dataclass(frozen=True)
class Config:
    """One training; the defaults suit MinAtar Breakout."""

    env: str = "DFWorld/minatar-breakout-v0"
    """Gymnasium id with image observations: `DFWorld/...` (the dream), `DFReal/...` (its twin)."""
    steps: int = 500_000
    """Environment steps, over all copies."""
    minutes: float | None = None
    """Stop after so long on the clock, if the steps are not done first."""
    seed: int = 0
    """Of the agent and, row by row, of the environments."""
    out: Path = Path("runs/dqn")
    """Folder to write to; an agent already there is replaced."""
    num_envs: int = 16
    """Copies of the environment that play side by side."""
    frame_stack: int = 1
    """Frames that the agent sees at once, newest last: more than 1 where motion matters."""
    updates: int = 4
    """Gradient steps after each step of all copies."""
    batch: int = 64
    """Transitions a gradient step."""
    learning_rate: float = 3e-4
    """Adam's."""
    gamma: float = 0.98
    """Discount a step."""
    memory: int = 50_000
    """Transitions remembered; a 40x40 one takes 10 kB."""
    learning_starts: int = 5_000
    """Steps played at random before the first update."""
    target_every: int = 4_000
    """Environment steps between two copies of the network into the target network."""
    explore: float = 0.1
    """First share of the training in which the share of random actions falls from 1 to ..."""
    final_epsilon: float = 0.02
    """... this, where it stays."""
    device: str = "auto"
    """Where the agent computes: `auto`, `cpu` or `cuda`. (The world chooses its own.)"""
    threads: int = 1
    """Torch's CPU threads, agent and dream alike: networks this small get slower with more."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        check(
            self,
            steps=COUNT,
            seed=(0, MAX_SEED),
            num_envs=COUNT,
            frame_stack=COUNT,
            learning_rate=(0.0, math.inf),
            gamma=SHARE,
            updates=COUNT,
            batch=COUNT,
            memory=COUNT,
            learning_starts=(0, math.inf),
            target_every=COUNT,
            explore=SHARE,
            final_epsilon=SHARE,
            threads=COUNT,
        )


def train(config: Config, callback: BaseCallback | None = None) -> Path:
    """Train an agent; returns the path of its `agent.zip`.

    Args:
        config: what to train, where and how long.
        callback: one of SB3's, called besides the progress bar.

    Raises:
        ConfigError: the environment is unknown or shows no images.
        DeviceError: the device is missing.
    """
    torch.set_num_threads(config.threads)
    progress = Progress(config.steps, config.minutes)
    venv = open_training(config.env, config.num_envs, config.device, config.frame_stack)
    logger = configure(str(config.out), ["csv"])
    try:
        model = DQN(
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
        model.set_logger(logger)
        record = {"algorithm": "dqn", **dataclasses.asdict(config), "out": str(config.out)}
        (config.out / "config.json").write_text(json.dumps(record, indent=2) + "\n")
        model.learn(config.steps, [progress, callback] if callback else [progress])
    finally:
        venv.close()
        logger.close()
    return save(model, config.out)


if __name__ == "__main__":
    sys.exit(main(Config, lambda config: print(f"wrote {train(config)}"), __doc__))
