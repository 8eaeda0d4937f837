"""The learned world as Stable-Baselines3's `VecEnv`: it takes no Gymnasium `VectorEnv`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import ConfigError


def make_sb3(id: str = "DFWorld-v0", num_envs: int = 1, **make_keywords: Any) -> VecMonitor:
    """Make a batched learned environment for Stable-Baselines3, with episode statistics.

    Args:
        id: a learned world's id, `DFWorld-v0` or `DFWorld/<name>`.
        num_envs: rows in the batch: one denoising call a step for all of them.
        **make_keywords: those of `gym.make_vec(id)`.

    Raises:
        ConfigError: the id is not a learned world's, or a keyword is not for it.
    """
    if "autoreset_mode" in make_keywords:
        raise ConfigError(
            "a row begins anew in the step that ends its episode, as Stable-Baselines3 has it; "
            "leave autoreset_mode out"
        )
    spec = gym.spec(id.removeprefix("dfgym:"))
    if spec.vector_entry_point != f"{DreamVectorEnv.__module__}:{DreamVectorEnv.__qualname__}":
        raise ConfigError(
            f"{id!r} is no learned world (DFWorld-v0 or DFWorld/<name>): use "
            f"stable_baselines3.common.env_util.make_vec_env({id!r}, n_envs={num_envs})"
        )
    env = gym.make_vec(spec, num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **make_keywords)
    assert isinstance(env, DreamVectorEnv)
    return VecMonitor(DreamVecEnv(env))


class DreamVecEnv(VecEnv):
    """A `DreamVectorEnv` that behaves as Stable-Baselines3's `DummyVecEnv` of `DreamEnv`s would."""

    def __init__(self, env: DreamVectorEnv) -> None:
        """Wrap an environment in SAME_STEP mode; raises ConfigError in another."""
        if env.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ConfigError(
                f"autoreset_mode {env.autoreset_mode} must be SAME_STEP for Stable-Baselines3"
            )
        self.env, self.spec = env, env.spec
        self._actions: Any = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.metadata = env.metadata  # whose frame rate films take

    def reset(self) -> np.ndarray:
        """Begin an episode in every row, with the seeds and options that were set for it."""
        observations, infos = self.env.reset(seed=self._seeds, options=self._options[0])
        self.reset_infos = [_row(infos, row) for row in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observations

    def set_options(self, options: Any = None) -> None:
        """Set the options of the next reset, one dict for all rows."""
        if not isinstance(options, dict | None):
            raise ConfigError(f"options {options!r} must be one dict, the same for all rows")
        super().set_options(options)

    def step_async(self, actions: Any) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step; rows that end begin anew at once, their last frame is `terminal_observation`."""
        observations, rewards, terminated, truncated, batch = self.env.step(self._actions)
        done = terminated | truncated
        infos = [_row(batch, row) for row in range(self.num_envs)]
        for row in np.flatnonzero(done).tolist():
            self.reset_infos[row] = infos[row]
            infos[row] = _row(batch["final_info"], row)
            infos[row]["terminal_observation"] = batch["final_obs"][row]
        for info, cut in zip(infos, (truncated & ~terminated).tolist(), strict=True):
            info["TimeLimit.truncated"] = cut
        return observations, rewards.astype(np.float32), done, infos

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_images(self) -> tuple[np.ndarray, ...]:
        """Draw every row."""
        return self.env.render()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute, which all rows share, once for each row."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: rows of one batch have no attributes of their own."""
        raise NotImplementedError(f"rows of a batch share {attr_name!r}: set it at make_sb3")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Refuse: rows of one batch have no methods of their own."""
        raise NotImplementedError(
            f"rows of a batch cannot run {method_name!r} alone: call it on the whole, "
            f"vec_env.unwrapped.env.{method_name}(...)"
        )

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """No row is wrapped in anything."""
        return [False for _ in self._get_indices(indices)]


def _row(infos: dict[str, Any], row: int) -> dict[str, Any]:
    """Take one row's numbers out of a batch's infos."""
    return {
        key: value[row]
        for key, value in infos.items()
        if not key.startswith(("_", "final_")) and infos[f"_{key}"][row]
    }
