"""What the Stable-Baselines3 agents share: training, an eye for the whole frame, a progress bar."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import gymnasium as gym
import numpy as np
import torch
import tyro
from msgspec import Meta
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecMonitor
from tqdm import tqdm

import dfgym
from dfgym.agents.flat import FlatActions, flatten
from dfgym.command import run_command
from dfgym.device import pick_device, use_threads
from dfgym.errors import ConfigError
from dfgym.games import packages
from dfgym.games.source import Opening, find_spec

if TYPE_CHECKING:
    from dfgym.agents import dqn, ppo, recurrent_ppo

UNKNOWN = (gym.error.NameNotFound, gym.error.NamespaceNotFound)
LEAST_SIDE = 29
"""Of what `NatureCNN` takes, padded: its strides leave nothing of less."""
MAX_SEED = 2**31  # NumPy's global generator, which SB3 seeds, takes 32 bits

Count = Annotated[int, Meta(ge=1)]
Minutes = Annotated[float, Meta(gt=0)]
Rate = Annotated[float, Meta(ge=0)]
Seed = Annotated[int, Meta(ge=0, le=MAX_SEED)]
Share = Annotated[float, Meta(ge=0, le=1)]

C = TypeVar("C")


def main(config: type[C], run: Callable[[C], object], about: str | None) -> int:
    """Run a `python -m` command with the flags of its dataclass and return the exit code."""

    def command() -> None:
        name = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", None)
        run(tyro.cli(config, description=about, prog=f"python -m {name}" if name else None))

    return run_command("dfgym", command)


def train(
    config: ppo.Config | dqn.Config | recurrent_ppo.Config,
    build: Callable[[VecEnv], BaseAlgorithm],
    callbacks: Sequence[BaseCallback],
    **settings: Any,
) -> Path:
    """Train an agent; write `agent.zip`, `config.json` and SB3's own log to `config.out`.

    Args:
        config: what to train, where and how long.
        build: makes the algorithm, which learns in the environments that it is given.
        callbacks: SB3's.
        settings: of the dream, for `gymnasium.make`.

    Returns:
        The path of the agent's `agent.zip`.

    Raises:
        ConfigError: the environment is unknown or shows no images.
        DeviceError: the device is missing.
    """
    use_threads("an agent's training", config.threads)
    keywords: dict[str, Any] = make_keywords(config.env, config.trust) | settings
    venv = open_training(config.env, config.num_envs, config.device, config.frame_stack, **keywords)
    with contextlib.closing(venv):
        model = build(venv)  # which refuses before anything is written
        with contextlib.closing(configure(str(config.out), ["csv"])) as logger:
            model.set_logger(logger)
            algorithm = type(model).__name__.lower()
            record = {"algorithm": algorithm, **dataclasses.asdict(config), "out": str(config.out)}
            (config.out / "config.json").write_text(json.dumps(record, indent=2) + "\n")
            model.learn(config.steps, list(callbacks))
    return save(model, config.out)


def make_keywords(env: str, trust: bool) -> dict[str, bool]:
    """Return the keywords of `gymnasium.make`; a dream has no module to be trusted."""
    return {"trust": True} if trust and env.removeprefix("dfgym:").startswith("DFReal") else {}


def open_training(
    env: str, num_envs: int, device: str, frame_stack: int = 1, **make_keywords: Any
) -> VecEnv:
    """Make the copies of an environment in which an agent learns.

    Args:
        env: a Gymnasium id.
        num_envs: the number of copies.
        device: the agent's device.
        frame_stack: frames in an observation, newest last (SB3's `VecFrameStack`).
        make_keywords: for `gymnasium.make`.

    Raises:
        ConfigError: there is no such environment, its observations are no images, or there
            are so many frames at once that SB3 would take their channels for a side.
        DeviceError: the agent's device is missing.
    """
    pick_device(device)
    venv = make_venv(env, num_envs, **make_keywords)
    if not is_image_space(venv.observation_space):
        space = venv.observation_space
        venv.close()
        raise ConfigError(f"{env} has observations {space}; expected uint8 images (h, w, 3)")
    *sides, channels = venv.observation_space.shape or ()
    if frame_stack > 1 and frame_stack * channels >= min(sides):  # SB3 takes the least
        venv.close()
        raise ConfigError(
            f"frame_stack is {frame_stack}; {env} has frames of {sides[0]}x{sides[1]}, of which "
            f"at most {(min(sides) - 1) // channels} can be stacked"
        )
    if flatten(venv.action_space, env) != venv.action_space:
        venv = FlatActions(venv, env)
    return VecFrameStack(venv, frame_stack) if frame_stack > 1 else venv


def make_venv(env: str, num_envs: int, **make_keywords: Any) -> VecEnv:
    """Make `num_envs` copies of a Gymnasium id for SB3, with each episode's return in its `info`.

    A dream (`DFWorld...`) is one batched call a step; anything else steps its copies in turn in
    this process, which for games as light as MinAtar beats other processes.

    Args:
        env: a Gymnasium id, `module:id` or `module:Class`; a module that is named is run.
        num_envs: at least 1.
        make_keywords: for `gymnasium.make`.

    Raises:
        ConfigError: `num_envs` is below 1, or there is no such environment.
        MissingPackageError: its package is not installed.
    """
    if num_envs < 1:
        raise ConfigError(f"num_envs is {num_envs}; expected int >= 1")
    name = env.removeprefix("dfgym:")  # dfgym is imported already
    module, own = packages.split_id(name)
    try:
        if name.startswith("DFWorld"):
            return dfgym.make_sb3(name, num_envs=num_envs, **make_keywords)
        spec = find_spec(Opening(own, module=module), bool(module))
        make = functools.partial(gym.make, spec, **make_keywords)
        return VecMonitor(DummyVecEnv([make] * num_envs))
    except (gym.error.Error, ModuleNotFoundError) as reason:
        hint = packages.plain_hint(module, own) or f"; expected {packages.FORM}"
        hint = hint if isinstance(reason, UNKNOWN) else ""
        raise ConfigError(f"{env!r} cannot be made: {reason}{hint}") from reason


class WholeFrameCNN(BaseFeaturesExtractor):
    """SB3's `NatureCNN`, after zero padding that lets it see the whole frame.

    Its strides (4, then 2, unpadded) reach every pixel only where height and width are 4 beyond
    a multiple of 8, like Atari's 84; of a 40x40 frame it drops the last 4 rows and columns, and
    with them Breakout's paddle. (MinAtar Breakout, PPO, 500,000 steps: return 5 without the
    padding, 14 with it.) Frames that are too small for it are drawn larger first, each cell as
    a block.

    Args:
        observation_space: of frames `(c, h, w)`.
        features_dim: the number of features.
        standardize: whether each observation is brought to mean 0 and deviation 1 first. Otherwise
            a bright ground is most of the input, and nothing that moves on it is learned.
    """

    def __init__(
        self,
        observation_space: gym.spaces.Box,
        features_dim: int = 512,
        standardize: bool = False,
    ) -> None:
        super().__init__(observation_space, features_dim)
        self.standardize = standardize
        channels, height, width = observation_space.shape
        self.scale = -(-LEAST_SIDE // min(LEAST_SIDE, height, width))
        height, width = self.scale * height, self.scale * width
        self.padding = (0, (4 - width) % 8, 0, (4 - height) % 8)  # left, right, top, bottom
        padded = (channels, height + self.padding[3], width + self.padding[1])
        self.net = NatureCNN(gym.spaces.Box(0, 255, padded, np.uint8), features_dim)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Extract features `(b, features_dim)` from frames `(b, c, h, w)` in [0, 1]."""
        if self.standardize:
            observations = torch.nn.functional.group_norm(observations, 1)
        if (n := self.scale) > 1:
            b, c, h, w = observations.shape
            blocks = observations[:, :, :, None, :, None].expand(b, c, h, n, w, n)
            observations = blocks.reshape(b, c, h * n, w * n)
        return self.net(torch.nn.functional.pad(observations, self.padding))


class Progress(BaseCallback):
    """A progress bar with the mean return of the last 100 episodes; stops when time is up.

    Args:
        steps: the training's length in environment steps.
        minutes: its longest duration.

    Raises:
        ConfigError: there is nothing to train for.
    """

    def __init__(self, steps: int, minutes: float | None = None) -> None:
        super().__init__()
        if steps < 1 or (minutes is not None and not minutes > 0):
            raise ConfigError(f"steps {steps} must be at least 1 and minutes {minutes} above 0")
        self.steps = steps
        self.seconds = float("inf") if minutes is None else minutes * 60

    @property
    def done(self) -> float:
        """The share of the training that is over, in [0, 1], by steps or by the clock."""
        clock = (time.monotonic() - self.begin) / self.seconds
        return min(max(self.num_timesteps / self.steps, clock), 1.0)

    def _on_training_start(self) -> None:
        self.begin = time.monotonic()
        self.bar = tqdm(total=100, bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}")

    def _on_step(self) -> bool:
        finished = int(self.done * 100) - self.bar.n
        if finished:
            returns = [episode["r"] for episode in self.model.ep_info_buffer or ()]
            self.bar.set_postfix_str(
                f"{self.num_timesteps:,} steps, "
                f"{self.num_timesteps / (time.monotonic() - self.begin):,.0f}/s, "
                + (f"mean return {np.mean(returns):.2f}" if returns else "no episode yet"),
                refresh=False,
            )
            self.bar.update(finished)
        return time.monotonic() - self.begin < self.seconds

    def _on_training_end(self) -> None:
        self.bar.close()


def save(model: BaseAlgorithm, folder: Path) -> Path:
    """Write `folder/agent.zip`, whole or not at all, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "agent.zip"
    partial = folder / f".{os.getpid()}.agent.zip"
    try:
        model.save(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
