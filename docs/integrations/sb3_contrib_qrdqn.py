# /// script
# dependencies = ["dfgym", "sb3-contrib"]
# ///
"""sb3-contrib: QR-DQN on the batch, as every algorithm of Stable-Baselines3 and its relatives.

`python docs/integrations/sb3_contrib_qrdqn.py`
"""

import torch
from sb3_contrib import QRDQN

import dfgym
from dfgym.agents.sb3 import WholeFrameCNN

STEPS = 640

torch.set_num_threads(1)
agent = QRDQN(
    "CnnPolicy",
    dfgym.make_sb3("DFWorld-v0", num_envs=16),
    policy_kwargs={"features_extractor_class": WholeFrameCNN, "n_quantiles": 8},
    buffer_size=2_000,
    learning_starts=160,
    batch_size=32,
    device="cpu",
    seed=0,
)
agent.learn(STEPS)
score = sum(episode["r"] for episode in agent.ep_info_buffer) / max(len(agent.ep_info_buffer), 1)
print(f"{agent.num_timesteps} steps, mean return {score:.2f}")
