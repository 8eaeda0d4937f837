# /// script
# dependencies = ["dfgym", "gymcts"]
# ///
"""gymcts: Monte Carlo tree search over `clone_state`, which costs less than its deep copies do.

`python docs/integrations/gymcts_search.py`. dfgym's own search, `dfgym.agents.search`, uses the
batch and the world's outcomes; gymcts steps one dream.
"""

import copy
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymcts.gymcts_agent import GymctsAgent
from gymcts.gymcts_env_abc import GymctsABC

import dfgym  # noqa: F401  registers the ids

MOVES, SIMULATIONS, HORIZON = 3, 6, 10


class Dream(GymctsABC, gym.Wrapper):
    """A dream whose states are bytes, with the return so far and whether it has ended."""

    def __init__(self, env: gym.Env) -> None:
        gym.Wrapper.__init__(self, env)
        self.chance = np.random.default_rng(0)
        self.score, self.ended = 0.0, False

    def reset(self, **keywords: Any) -> Any:
        self.score, self.ended = 0.0, False
        return self.env.reset(**keywords)

    def step(self, action: int) -> Any:
        result = self.env.step(action)
        self.score += result[1]
        self.ended = result[2] or result[3]
        return result

    def get_state(self) -> Any:
        return self.env.unwrapped.clone_state(), self.score, self.ended

    def load_state(self, state: Any) -> None:
        data, self.score, self.ended = state
        self.env.unwrapped.restore_state(data)

    def is_terminal(self) -> bool:
        return self.ended

    def get_valid_actions(self) -> list[int]:
        return list(range(self.env.action_space.n))

    def action_masks(self) -> None:
        return None

    def rollout(self) -> float:
        """Play on at random for HORIZON steps; gymcts wants returns in [-1, 1]."""
        for _ in range(HORIZON):
            if self.ended:
                return -1.0
            self.step(int(self.chance.integers(self.env.action_space.n)))
        return min(self.score, 10.0) / 10


env = Dream(gym.make("DFWorld-v0", max_episode_steps=-1))  # limits count no restored steps
env.reset(seed=0)
agent = GymctsAgent(env, number_of_simulations_per_step=SIMULATIONS)
moves = [agent.perform_mcts_step()[0] for _ in range(MOVES)]
print("searched moves:", moves)

times = 50
begin = time.perf_counter()
for _ in range(times):
    env.load_state(env.get_state())
middle = time.perf_counter()
for _ in range(times):
    copy.deepcopy(copy.deepcopy(env.unwrapped))  # gymcts copies to save and to restore
ratio = (time.perf_counter() - middle) / (middle - begin)
print(f"saving and restoring takes {ratio:.1f} times as long by deep copies")
