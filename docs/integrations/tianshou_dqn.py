# /// script
# dependencies = ["dfgym", "tianshou[eval]"]
# ///
"""Tianshou: DQN on single dreams in one process; its batches are lists of environments.

`python docs/integrations/tianshou_dqn.py`
"""

import gymnasium as gym
import numpy as np
import torch
from tianshou.algorithm import DQN
from tianshou.algorithm.algorithm_base import policy_within_training_step
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, CollectStats, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from torch import nn

import dfgym  # noqa: F401  registers the ids

ENVS, STEPS, UPDATES = 4, 160, 8

torch.set_num_threads(1)
envs = DummyVectorEnv([lambda: gym.make("DFWorld-v0") for _ in range(ENVS)])
one = gym.make("DFWorld-v0")


class Q(nn.Module):
    """The value of each action of a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 4, 4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(int(one.action_space.n))
        )
        self.layers(torch.zeros(1, 3, *one.observation_space.shape[:2]))

    def forward(self, obs: np.ndarray, state: object = None, info: object = None) -> tuple:
        pixels = torch.as_tensor(np.asarray(obs)).permute(0, 3, 1, 2).float() / 255
        return self.layers(pixels), state


policy = DiscreteQLearningPolicy(model=Q(), action_space=one.action_space, eps_training=0.2)
agent = DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-3), gamma=0.98, target_update_freq=100)
buffer = VectorReplayBuffer(10_000, ENVS)
collector = Collector[CollectStats](agent, envs, buffer, exploration_noise=True)
collector.reset()
collected = collector.collect(n_step=STEPS)
with policy_within_training_step(policy):
    for _ in range(UPDATES):
        policy.train()
        trained = agent.update(buffer, 32)
print(f"{collected.n_collected_steps} steps, {collected.n_collected_episodes} episodes")
print(f"loss {trained.get_loss_stats_dict()}")
envs.close()
