"""Make a world: record a tiny game, train on it, pack it, and step it as an environment.

Run it with `python docs/tutorials/make_a_world.py`; it takes under a minute on two cores.
"""

import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

import dfgym  # noqa: F401 - registers DFWorld-v0
from dfgym.agents.players import make_factory
from dfgym.data.record import Recording, record
from dfgym.model.config import ModelConfig
from dfgym.train.config import TrainConfig
from dfgym.train.loop import train
from dfgym.train.pack import Presentation, pack
from dfgym.world.card import Sampler

torch.set_num_threads(1)
SIZE = 8


class Catch(gym.Env):
    """A walker on the lowest row catches a target; the next one lies three columns further."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 - Gymnasium's form
    observation_space = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
    action_space = gym.spaces.Discrete(3)  # stay, left, right

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        self.walker, self.target = self.np_random.integers(SIZE, size=2)
        return self.render(), {}

    def step(self, action):
        self.steps += 1
        self.walker = np.clip(self.walker + (0, -1, 1)[int(action)], 0, SIZE - 1)
        caught = self.walker == self.target
        if caught:
            self.target = (self.target + 3) % SIZE
        return self.render(), float(caught), False, self.steps == 40, {}

    def render(self):
        frame = np.zeros((SIZE, SIZE, 3), np.uint8)
        frame[0, self.target] = (250, 200, 60)
        frame[-1, self.walker] = (60, 160, 250)
        return frame


gym.register("Tutorial/Catch-v0", Catch)

with tempfile.TemporaryDirectory() as folder:
    data, run, world = (Path(folder) / name for name in ("data", "run", "catch-v0"))

    # 1. Record. Random play shows all of this game; harder games need better players as well.
    players = {"random": 0.5, "sticky-random": 0.5}
    store = record(Recording("Tutorial/Catch-v0", 8_000, players, seed=0), data, make_factory)
    print(f"recorded {store.num_frames:,} frames in {len(store)} episodes")

    # 2. Train. Half of the frames are learned from pure noise after a clean past, which is what
    # one denoising step meets.
    train(
        TrainConfig(
            data=(data,),
            out=run,
            steps=260,
            image_steps=20,
            learning_rate=5e-3,
            muon_rate=2e-2,
            batch=16,
            length=8,
            noise_share=0.5,
            clean_share=0.5,
            model=ModelConfig(dim=48, depth=2, heads=2, patch=4, window=3),
            sampler=Sampler(denoising_steps=1, shift=1.0, context_mode="clean", context_noise=0.0),
            device="cpu",
            strip_every=0,
        )
    )

    # 3. Pack.
    pack(
        run,
        world,
        "catch-v0",
        Presentation(description="Catch the target.", observation_scale=1, max_steps=40),
    )

    # 4. Step the dream and the real game side by side, and count the frames that are equal.
    dream, real = gym.make("DFWorld-v0", world=str(world)), gym.make("Tutorial/Catch-v0")
    generator, equal, rewards = np.random.default_rng(0), [], []
    for seed in range(20):
        start, _ = real.reset(seed=1_000 + seed)
        dream.reset(seed=seed, options={"frames": start[None]})
        for _ in range(10):
            action = int(generator.integers(3))
            dreamed, dreamed_reward, *_ = dream.step(action)
            expected, reward, *_ = real.step(action)
            equal.append(np.array_equal(dreamed, expected))
            rewards.append(dreamed_reward == reward)
    print(f"dreamed frames that are exactly the real ones: {np.mean(equal):.0%}")
    print(f"dreamed rewards that are the real ones:        {np.mean(rewards):.0%}")
    dream.close()
    real.close()
