# /// script
# dependencies = ["dfgym"]
# ///
"""PPO in one file, in CleanRL's manner, on Gymnasium's batch: one call of the network steps all.

`python docs/integrations/cleanrl_ppo.py`. Set STEPS to 500_000 to train an agent.
"""

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

import dfgym  # noqa: F401  registers the ids

STEPS, ENVS, ROLLOUT, EPOCHS, BATCH = 512, 16, 16, 2, 128
GAMMA, LAMBDA, CLIP, ENTROPY = 0.98, 0.9, 0.2, 0.01

torch.set_num_threads(1)
torch.random.manual_seed(0)  # noqa: TID251  a script's own chance
envs = gym.make_vec("DFWorld-v0", num_envs=ENVS)
envs = gym.wrappers.vector.RecordEpisodeStatistics(envs)
actions_n = envs.single_action_space.n


class Agent(nn.Module):
    """A small convolutional actor and critic."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 4, 4), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten()
        )
        self.actor, self.critic = nn.Linear(32 * 64, actions_n), nn.Linear(32 * 64, 1)

    def forward(self, observations: np.ndarray) -> tuple[Categorical, torch.Tensor]:
        pixels = torch.as_tensor(observations).permute(0, 3, 1, 2).float() / 255
        features = self.body(pixels)
        return Categorical(logits=self.actor(features)), self.critic(features).squeeze(-1)


agent = Agent()
optimizer = torch.optim.Adam(agent.parameters(), lr=1e-3)
shape = (ROLLOUT, ENVS)
frames = np.zeros((*shape, *envs.single_observation_space.shape), np.uint8)
actions, rewards, values, logprobs, dones = (torch.zeros(shape) for _ in range(5))
observations, _ = envs.reset(seed=0)
done, returns = torch.zeros(ENVS), []

for _update in range(STEPS // (ROLLOUT * ENVS)):
    for step in range(ROLLOUT):
        frames[step], dones[step] = observations, done
        with torch.no_grad():
            policy, values[step] = agent(observations)
        action = policy.sample()
        actions[step], logprobs[step] = action, policy.log_prob(action)
        observations, reward, terminated, truncated, infos = envs.step(action)
        rewards[step] = torch.as_tensor(reward)
        done = torch.as_tensor(terminated | truncated).float()
        if "episode" in infos:
            returns += infos["episode"]["r"][infos["_episode"]].tolist()
    with torch.no_grad():
        following = agent(observations)[1]
    advantages, last = torch.zeros(shape), torch.zeros(ENVS)
    for step in reversed(range(ROLLOUT)):
        goes_on = 1 - (done if step == ROLLOUT - 1 else dones[step + 1])
        ahead = following if step == ROLLOUT - 1 else values[step + 1]
        delta = rewards[step] + GAMMA * ahead * goes_on - values[step]
        advantages[step] = last = delta + GAMMA * LAMBDA * goes_on * last
    # The step after an end leads to the next episode's first frame, whatever the action.
    rows = torch.nonzero(dones.flatten() == 0).squeeze(1)
    flat = [x.flatten()[rows] for x in (actions, logprobs, advantages, advantages + values)]
    inputs = frames.reshape(-1, *frames.shape[2:])[rows.numpy()]
    for _epoch in range(EPOCHS):
        for part in torch.randperm(len(rows)).split(BATCH):
            old_action, old_logprob, advantage, target = (x[part] for x in flat)
            policy, value = agent(inputs[part.numpy()])
            ratio = (policy.log_prob(old_action) - old_logprob).exp()
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
            loss = -torch.min(ratio * advantage, clipped * advantage).mean()
            loss = loss + 0.5 * (value - target).square().mean()
            loss = loss - ENTROPY * policy.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()

envs.close()
print(f"{len(returns)} episodes, mean return {np.mean(returns) if returns else float('nan'):.2f}")
