# /// script
# dependencies = ["dfgym", "torchrl"]
# ///
"""TorchRL: a collector over dfgym's batch; its frames come as one tensordict.

`python docs/integrations/torchrl_collector.py`
"""

import gymnasium as gym
import torch
from torchrl.collectors import Collector
from torchrl.envs import GymEnv, GymWrapper
from torchrl.envs.utils import check_env_specs

import dfgym  # noqa: F401  registers the ids

ROWS, FRAMES, TOTAL = 16, 128, 512

if __name__ == "__main__":
    torch.set_num_threads(1)
    # TorchRL takes batches that reset at once, or none that reset by themselves ("Disabled").
    env = GymWrapper(gym.make_vec("DFWorld-v0", num_envs=ROWS, autoreset_mode="SameStep"))
    check_env_specs(env)
    check_env_specs(GymEnv("DFWorld-v0"))  # a single dream, made by TorchRL
    env.set_seed(0)
    collector = Collector(env, None, frames_per_batch=FRAMES, total_frames=TOTAL)  # plays at random
    ends = 0
    for batch in collector:
        ends += int(batch["next", "done"].sum())
    print("a batch of", tuple(batch.shape), "with", ", ".join(sorted(batch["next"].keys())))
    collector.shutdown()
    print(f"{TOTAL} frames of {ROWS} dreams, {ends} episodes ended")
