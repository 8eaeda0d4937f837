"""Train an agent in a dream of Pong on what is read off its frames, and let it play the real game.

    python .ci/pong_agent.py --minutes 28 --out runs/pong-agent
    python .ci/pong_agent.py --out runs/pong-agent   # only play again

PPO on ten numbers: where ball and paddles are, how the ball flies and where it will arrive
(`dfgym.games.pong`), in place of pixels, which take millions of frames to learn from. It then plays
whole games, to 21 points, in `DFReal`, and prints the points it won and lost.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from dfgym.agents.sb3 import Progress, make_venv
from dfgym.device import use_threads
from dfgym.games import pong
from dfgym.statistics import bootstrap_interval

ACTIONS = np.array([pong.STAY, pong.UP, pong.DOWN])
SLOWEST = 0.005  # columns a step: a ball that comes more slowly does not come


class ReadOff(VecEnvWrapper):
    """Shows an agent ten numbers in place of frames, and gives it three actions."""

    def __init__(self, venv: VecEnv) -> None:
        space = gym.spaces.Box(-10, 10, (10,), np.float32)
        super().__init__(venv, space, gym.spaces.Discrete(len(ACTIONS)))
        self.last = np.full((venv.num_envs, 4), np.nan)

    def reset(self) -> np.ndarray:
        """Begin all games."""
        self.last[:] = np.nan
        return self._read(self.venv.reset())

    def step_async(self, actions: np.ndarray) -> None:
        """Choose among all of the game's actions."""
        self.venv.step_async(ACTIONS[actions])

    def step_wait(self) -> Any:
        """Read the frames that follow."""
        frames, rewards, dones, infos = self.venv.step_wait()
        self.last[dones] = np.nan
        numbers = self._read(frames)
        for row in np.flatnonzero(dones):
            infos[row]["terminal_observation"] = numbers[row]
        return numbers, rewards, dones, infos

    def _read(self, observations: Any) -> np.ndarray:
        frames = np.asarray(observations)
        if frames.shape[1] == 3:  # SB3's images have channels first
            frames = frames.transpose(0, 2, 3, 1)
        places = np.array([pong.read(frame) for frame in frames])
        moves = ~np.isnan(places[:, 0]) & ~np.isnan(self.last[:, 0])
        speed = np.where(moves[:, None], places[:, :2] - self.last[:, :2], 0)
        self.last = places
        shows = ~np.isnan(places[:, 0])
        row, column, own, other = np.nan_to_num(places, nan=0.5).T
        comes = speed[:, 1] > SLOWEST
        steps = np.clip((pong.OWN_FACE - column) / np.maximum(speed[:, 1], SLOWEST), 0, 40) * comes
        flown = [pong.arrival(r) for r in row + steps * speed[:, 0]]
        aim = np.where(comes, flown, row)
        numbers = [
            (aim - own) * 8 * shows, steps / 10 * shows, shows, (row - 0.5) * 4,
            (column - 0.5) * 3, speed[:, 0] * 20, speed[:, 1] * 20, (own - 0.5) * 4,
            (other - 0.5) * 4, (row - own) * 8 * shows,
        ]  # fmt: skip
        return np.stack(numbers, 1).astype(np.float32)


def learn(env: str, denoising_steps: int | None, minutes: float, seed: int, out: Path) -> None:
    """Train for so long, and save the agent."""
    keywords = {"denoising_steps": denoising_steps} if denoising_steps else {}
    games = ReadOff(make_venv(env, 16, **keywords))
    games.seed(seed)
    agent = PPO(
        "MlpPolicy", games, n_steps=64, batch_size=256, n_epochs=6, learning_rate=1e-3,
        gamma=0.98, gae_lambda=0.95, ent_coef=0.01, policy_kwargs={"net_arch": [64, 64]},
        seed=seed, device="cpu",
    )  # fmt: skip
    agent.learn(10**9, callback=Progress(10**9, minutes))
    out.mkdir(parents=True, exist_ok=True)
    agent.save(out / "agent")
    print(f"{agent.num_timesteps:,} steps in {env}")


def play(agent: PPO | None, env: str, games: int) -> None:
    """Play whole games side by side, the agent's or at random, and print the scores."""
    venv = ReadOff(make_venv(env, games))
    venv.seed(10_000)
    random = np.random.default_rng(0)
    numbers, scores, over = venv.reset(), np.zeros(games), np.zeros(games, bool)
    won = lost = 0
    while not over.all():
        actions = agent.predict(numbers)[0] if agent else random.integers(3, size=games)
        numbers, rewards, dones, _ = venv.step(actions)
        scores += np.where(over, 0, rewards)
        won += int((rewards[~over] > 0).sum())
        lost += int((rewards[~over] < 0).sum())
        over |= dones
    low, high = bootstrap_interval(scores, lambda sample: sample.mean(-1))
    who = "the agent" if agent else "random play"
    print(
        f"{who} in {env}: {scores.mean():.1f} ({low:.1f} to {high:.1f} over {games} games), "
        f"{won} points won and {lost} lost"
    )


def main() -> None:
    """Train where minutes are given, then play."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="DFWorld/ale-pong-v0")
    parser.add_argument("--denoising-steps", type=int, help="of the dream; the card's if left out")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--games", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/pong-agent"))
    options = parser.parse_args()
    use_threads("the agent", 1)
    if options.minutes:
        steps = options.denoising_steps
        learn(options.env, steps, options.minutes, options.seed, options.out)
    agent = PPO.load(options.out / "agent", device="cpu")
    real = options.env.replace("DFWorld/", "DFReal/")
    for who in (None, agent):
        play(who, real, options.games)


if __name__ == "__main__":
    main()
