"""Branch a dream: look one action ahead, many times, from one and the same moment.

Run it with `python docs/tutorials/branch_and_restore.py`; it takes a few seconds.
"""

import gymnasium as gym
import numpy as np

import dfgym  # noqa: F401 - registers the learned worlds

HORIZON, TRIALS = 12, 4

env = gym.make("DFWorld-v0")
dream = env.unwrapped  # cloning is the learned world's own, so it is called below the wrappers
env.reset(seed=1)
for _ in range(5):
    env.step(0)

# The same state and the same actions give the same future, bit for bit.
state = dream.clone_state()
first = env.step(2)[0]
dream.restore_state(state)
second = env.step(2)[0]
print("the same future again:", np.array_equal(first, second), f"({len(state):,} bytes a state)")

# Without its generator a state is the same present with other chance. So each action can be tried
# several times, and the best one taken: a search in its simplest form.
present = dream.clone_state(include_rng=False)
generator = np.random.default_rng(0)
values = []
for action in range(env.action_space.n):
    returns = []
    for _ in range(TRIALS):
        dream.restore_state(present)
        _, reward, ended, _, _ = dream.step(action)
        total = float(reward)
        for _ in range(HORIZON):
            if ended:
                break
            _, reward, ended, _, _ = dream.step(int(generator.integers(3)))
            total += float(reward)
        returns.append(total - float(ended))  # the game is lost where it ends
    values.append(float(np.mean(returns)))
print("value of each action:", [f"{value:+.2f}" for value in values])
print("the search would play:", int(np.argmax(values)))
env.close()
