# /// script
# dependencies = ["dfgym", "ray[rllib]"]
# ///
"""RLlib: PPO with two processes that play; each makes single dreams by the creator below.

`python docs/integrations/rllib_ppo.py`
"""

import gymnasium as gym
import numpy as np
import ray
from gymnasium.wrappers import DtypeObservation, TransformObservation
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env

ITERATIONS, RUNNERS = 1, 2


def dream(config: dict) -> gym.Env:
    """RLlib's networks take floats; a worker knows `dfgym:`, though it never imported it."""
    env = DtypeObservation(gym.make("dfgym:DFWorld-v0", **config), np.float32)
    space = gym.spaces.Box(0, 1, env.observation_space.shape, np.float32)
    return TransformObservation(env, lambda frame: frame / np.float32(255), space)


if __name__ == "__main__":
    ray.init(num_cpus=RUNNERS + 1, include_dashboard=False)
    register_env("dream", dream)
    config = (
        PPOConfig()
        .environment("dream")
        .env_runners(num_env_runners=RUNNERS, num_envs_per_env_runner=4)
        .training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=1)
        .rl_module(model_config={"conv_filters": [[16, 4, 2], [32, 4, 2], [64, 4, 2]]})
    )
    algorithm = config.build_algo()
    for _ in range(ITERATIONS):
        result = algorithm.train()["env_runners"]
    steps, score = result["num_env_steps_sampled_lifetime"], result.get("episode_return_mean")
    print(f"{steps:.0f} steps, mean return {score}")
    algorithm.stop()
    ray.shutdown()
