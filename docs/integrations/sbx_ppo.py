# /// script
# dependencies = ["dfgym", "sbx-rl"]
# ///
"""SBX, Stable-Baselines3 in jax: PPO on the batch.

`python docs/integrations/sbx_ppo.py`. Most of its time jax compiles.
"""

import torch
from sbx import PPO

import dfgym

STEPS = 256

torch.set_num_threads(1)
dreams = dfgym.make_sb3("DFWorld-v0", num_envs=16)
agent = PPO("CnnPolicy", dreams, n_steps=16, batch_size=128, n_epochs=1, seed=0)
agent.learn(STEPS)
action, _ = agent.predict(dreams.reset(), deterministic=True)
print(f"{agent.num_timesteps} steps; it now plays {action.tolist()}")
