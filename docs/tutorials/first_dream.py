"""First dream: step a learned game, look at a frame, compare with the real game.

Run it with `python docs/tutorials/first_dream.py`; it takes a few seconds.
"""

import gymnasium as gym
import numpy as np

import dfgym  # noqa: F401 - registers the learned worlds

STEPS = 200

# A learned world is an ordinary Gymnasium environment. Its weights come with the package.
env = gym.make("DFWorld-v0")
print("observations:", env.observation_space)
print("actions:     ", env.action_space)

# An episode begins from a real frame; each step then generates a frame, a reward and an end.
observation, info = env.reset(seed=0)
print("began from the recorded episode", info["start_episode"])
generator = np.random.default_rng(0)
total, episodes = 0.0, 1
for _ in range(STEPS):
    action = int(generator.integers(3))
    observation, reward, terminated, truncated, info = env.step(action)
    total += float(reward)
    if terminated or truncated:
        observation, _ = env.reset()
        episodes += 1
print(f"{STEPS} random steps: {episodes} episodes, {total:g} bricks")

# What the model thought of the last transition.
print(f"probability of an end: {info['termination_probability']:.3f}")
print(f"uncertainty:           {info['uncertainty']:.3f}")

# A frame is an array; here it is as text, one character for each 4 x 4 block of pixels.
for row in observation[::4, ::4].max(-1):
    print("".join(" .:+#"[min(4, int(value) // 52)] for value in row))

env.close()
