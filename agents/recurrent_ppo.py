"""PPO with an LSTM (sb3-contrib's RecurrentPPO), for games whose frames do not say all.

    python -m dfgym.agents.recurrent_ppo --env DFWorld/minatar-breakout-v0 --out runs/dream
    python -m dfgym.agents.recurrent_ppo --env DFSource/MiniGrid-MemoryS7-v0 --tile 1

Writes `agent.zip`, `config.json` and `progress.csv` (Stable-Baselines3's own log) to `--out`. It
needs the extra `recurrent`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import gymnasium as gym
import numpy as np
import torch
from msgspec import Meta
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from dfgym import checks
from dfgym.agents import sb3
from dfgym.agents.ppo import Anneal
from dfgym.agents.sb3 import Count, Minutes, Progress, Rate, Seed, Share
from dfgym.errors import ConfigError, MissingPackageError

if TYPE_CHECKING:
    from sb3_contrib import RecurrentPPO

SPAN = 32
"""Steps over which the LSTM remembers at first."""


@dataclass(frozen=True)
class Config:
    """One training run."""

    env: str = "DFWorld/minatar-breakout-v0"
    """Gymnasium id with image observations: `DFWorld/...` (the dream), `DFReal/...` (its twin), or
    a game's own, also as `module:id` or `module:Class`."""
    steps: Count = 500_000
    """Environment steps, summed over all copies."""
    minutes: Minutes | None = None
    """Stop after this time even if the steps are not done."""
    seed: Seed = 0
    """Seed of the agent; the environments' seeds count up from it, row by row."""
    out: Path = Path("runs/recurrent-ppo")
    """Folder to write to; an agent that is there is replaced."""
    num_envs: Count = 128
    """Copies of the environment that play side by side."""
    tile: Count = 4
    """Pixels along each side of a tile of one colour; the agent sees one pixel of each."""
    rollout: Count = 32
    """Steps that each copy plays between two updates, through which gradients flow back."""
    batch: Annotated[int, Meta(ge=2)] = 1024
    """Transitions in a gradient step."""
    epochs: Count = 4
    """Passes of an update over the transitions."""
    learning_rate: Rate = 1e-3
    """Adam's learning rate at the start; it falls to 0 linearly."""
    gamma: Share = 0.98
    """Discount for each step: what makes it hurry."""
    gae_lambda: Share = 0.95
    """Lambda of generalised advantage estimation (Schulman et al. 2016)."""
    entropy: Rate = 0.01
    """Weight of the entropy bonus."""
    width: Count = 128
    """Numbers that the agent remembers, and features of a frame."""
    device: str = "auto"
    """Where the agent computes: `auto`, `cpu` or `cuda`. The world chooses its own."""
    threads: Count | None = None
    """Torch's CPU threads, for agent and dream; by default those of OMP_NUM_THREADS, or 1: networks
    this small are slower with more."""
    trust: bool = False
    """Let `DFReal/...` import the modules that its world's card names, which runs them."""

    frame_stack = 1  # it remembers by itself

    def __post_init__(self) -> None:
        """Refuse values that are not allowed."""
        checks.check(self, ConfigError)


class TileFeatures(BaseFeaturesExtractor):
    """One linear layer on the colours of all tiles, for games that are drawn in them.

    Args:
        observation_space: of frames `(c, h, w)`.
        features_dim: the number of features.
        tile: pixels along each side of a tile, see `check_tile`.
    """

    def __init__(self, observation_space: gym.spaces.Box, features_dim: int, tile: int) -> None:
        super().__init__(observation_space, features_dim)
        channels, height, width = observation_space.shape
        self.tile = tile
        inputs = channels * height * width // tile**2
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(inputs, features_dim), nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Extract features `(b, features_dim)` from frames `(b, c, h, w)` in [0, 1]."""
        middle = self.tile // 2
        return self.net(observations[:, :, middle :: self.tile, middle :: self.tile])


def _remember(lstm: nn.LSTM) -> None:
    """Set the gates' biases so that at first all spans up to `SPAN` occur (Tallec 2018)."""
    size = lstm.hidden_size
    spans = torch.linspace(1, SPAN - 1, size).log()
    for name, bias in lstm.named_parameters():
        if "bias" in name:
            share = spans / 2  # PyTorch adds two biases
            bias.data[:size], bias.data[size : 2 * size] = -share, share


def check_tile(frames: np.ndarray, tile: int) -> None:
    """Check that frames `(n, h, w, c)` are drawn in tiles of one colour and this size.

    Raises:
        ConfigError: they are not.
    """
    height, width = frames.shape[1:3]

    def fits(size: int) -> bool:
        if height % size or width % size:
            return False
        corners = frames[:, ::size, ::size]
        return np.array_equal(corners.repeat(size, 1).repeat(size, 2), frames)

    if not fits(tile):
        sizes = ", ".join(str(size) for size in range(1, min(height, width) + 1) if fits(size))
        raise ConfigError(
            f"tile is {tile}; expected one of {sizes}: the frames, {height} x {width}, are drawn "
            "in tiles of such sides, of which the agent sees one pixel each"
        )


def train(config: Config, callback: BaseCallback | None = None) -> Path:
    """Train an agent and return the path of its `agent.zip`; see `sb3.train`.

    Args:
        config: what to train, where and how long.
        callback: one of SB3's, called besides the progress bar.

    Raises:
        ConfigError: see `sb3.train` and `check_tile`.
        MissingPackageError: sb3-contrib is not installed.
    """
    try:
        from sb3_contrib import RecurrentPPO
    except ModuleNotFoundError as reason:
        raise MissingPackageError(
            'recurrent agents need the package sb3-contrib: pip install "dfgym[recurrent]"'
        ) from reason
    progress = Progress(config.steps, config.minutes)

    def build(venv: VecEnv) -> RecurrentPPO:
        check_tile(np.asarray(venv.reset()), config.tile)
        model = RecurrentPPO(
            "CnnLstmPolicy",
            venv,
            n_steps=config.rollout,
            batch_size=config.batch,
            n_epochs=config.epochs,
            learning_rate=config.learning_rate,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            ent_coef=config.entropy,
            policy_kwargs={
                "features_extractor_class": TileFeatures,
                "features_extractor_kwargs": {"features_dim": config.width, "tile": config.tile},
                "lstm_hidden_size": config.width,
                "net_arch": [64],
                "shared_lstm": True,  # one state that both heads read
                "enable_critic_lstm": False,
            },
            seed=config.seed,
            device=config.device,
        )
        lstm = model.policy.lstm_actor
        assert isinstance(lstm, nn.LSTM)
        _remember(lstm)
        return model

    others = [] if callback is None else [callback]
    return sb3.train(config, build, [progress, Anneal(config.learning_rate, progress), *others])


if __name__ == "__main__":
    sys.exit(sb3.main(Config, lambda config: print(f"wrote {train(config)}"), __doc__))
