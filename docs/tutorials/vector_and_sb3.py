"""Many dreams at once, for a loop of your own and for Stable-Baselines3.

Run it with `python docs/tutorials/vector_and_sb3.py`; it takes under a minute.
"""

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO

import dfgym
from dfgym.agents.sb3 import WholeFrameCNN

torch.set_num_threads(1)  # networks as small as these get slower with more
STEPS = 512

# Gymnasium: 16 dreams in one batch. A step is one call of the network for all of them.
envs = gym.make_vec("DFWorld-v0", num_envs=16)
observations, _ = envs.reset(seed=0)
print("a batch of observations:", observations.shape, observations.dtype)

# Row 3 plays what a single environment plays that was reset with seed 0 + 3.
single = gym.make("DFWorld-v0")
first, _ = single.reset(seed=3)
print("row 3 begins like a single environment with seed 3:", np.array_equal(observations[3], first))
single.close()
envs.close()

# Stable-Baselines3 has a vector interface of its own; `make_sb3` provides it.
dreams = dfgym.make_sb3("DFWorld-v0", num_envs=16)
agent = PPO(
    "CnnPolicy",
    dreams,
    n_steps=32,
    batch_size=128,
    policy_kwargs={"features_extractor_class": WholeFrameCNN},
    device="cpu",
    seed=0,
)
agent.learn(STEPS)
print(f"PPO has learned from {agent.num_timesteps:,} dreamed steps; a real training takes 500,000")
dreams.close()
