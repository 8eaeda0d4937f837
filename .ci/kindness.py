"""Whether a dream of Breakout is kinder than the game where its agents go.

    python .ci/kindness.py --agents runs/transfer/dream-3/agent.zip runs/transfer/dream-4/agent.zip

The agents play the real game. At moments of their play, and for the action that they take there,
the dream's odds are held against the game's own, which are exact: how likely the last action is to
stick where that shows, and how likely the ball is to be lost, sorted by what the game says of it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import tyro

from dfgym.agents import saved
from dfgym.evaluation import moments
from dfgym.evaluation.branches import mass, merge_ways, odds
from dfgym.evaluation.moments import Moment
from dfgym.evaluation.rollout import Real, roll
from dfgym.statistics import mean_interval
from dfgym.world import shelf
from dfgym.world.dynamics import Dynamics

ROWS, BATCH, BALL, LOW = 16, 64, 2, 8
"""The ball's colour in the palette, and the row of cells from which it falls onto the paddle's."""


@dataclass(frozen=True)
class Config:
    """Whose play is looked at."""

    agents: tuple[Path, ...]
    world: str = "minatar-breakout-v0"
    transitions: int = 24_000
    """Of each agent in the real game."""
    low: int = 1_000
    """Moments with the ball above the paddle's row, of each agent."""
    others: int = 500
    seed: int = 31


def play(config: Config, path: Path) -> list[Moment]:
    """Return moments of an agent's real play."""
    card = shelf.load(config.world).card
    space = gym.spaces.Box(0, 255, (card.frames.height, card.frames.width, 3), np.uint8)
    agent = saved.load("ppo", path, space)

    class Row:
        def reset(self) -> None:
            """Nothing is remembered."""

        def __call__(self, frame: np.ndarray) -> int:
            return int(agent.choose(frame[None], greedy=False)[0])

    episodes = roll(Real(card, ROWS, config.seed), [Row()] * ROWS, config.transitions, 1000)
    every = [Moment(episode, at) for episode in episodes for at in range(len(episode))]
    ball = np.array(card.frames.palette[BALL], np.uint8)
    is_low = np.array([(m.episode.frames[m.at][LOW] == ball).all(-1).any() for m in every])
    random = np.random.default_rng(config.seed)
    picks = [
        random.permutation(np.flatnonzero(side))[:count]
        for side, count in ((is_low, config.low), (~is_low, config.others))
    ]
    return [every[i] for i in np.concatenate(picks)]


def main() -> None:
    """Compare the odds and print them."""
    config = tyro.cli(Config, description=__doc__)
    world = shelf.load(config.world)
    twin, dynamics = moments.open_judge(world.card), Dynamics(world, BATCH)
    compared: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for number, path in enumerate(config.agents):
        pasts = play(config, path)
        for first in range(0, len(pasts), BATCH):
            batch = pasts[first : first + BATCH]
            filled = [*batch, *[batch[-1]] * (BATCH - len(batch))]
            moments.begin(dynamics, batch, config.seed + first)
            actions = np.array([m.episode.actions[m.at] for m in filled])
            ways = dynamics.outcomes(actions)
            for row, past in enumerate(batch):
                belief, _ = twin.begin(past.episode.seed, list(past.episode.actions[: past.at]))
                real, exact = odds(twin, belief, actions[row], 1, 0)
                assert exact
                chances = np.array([way.probability for way in real])
                ends = chances @ np.array([way.terminated for way in real], float)
                dream = merge_ways(
                    ways.frames[row],
                    ways.probabilities[row],
                    ways.rewards[row],
                    ways.termination_probability[row],
                    None,
                )
                sort = "sure" if ends > 1 - 1e-9 else "impossible" if ends < 1e-9 else "by chance"
                compared[f"the ball is lost: {sort}"].append((dream.end, float(ends), number))
                if sort == "by chance":
                    lost = np.stack([way.frame for way in real if way.terminated])
                    every = np.stack([way.frame for way in real])
                    odds_lost = float(mass(dream, lost, 0)[:-1].sum())
                    compared["by chance, odds of its frame"].append(
                        (odds_lost, float(ends), number)
                    )
                    forbidden = float(mass(dream, every, 0)[-1])
                    compared["by chance, odds of forbidden frames"].append((forbidden, 0.0, number))
                sticky = [way for way in real if way.sticky]
                plain = {way.frame.tobytes() for way in real if not way.sticky}
                if sticky and all(way.frame.tobytes() not in plain for way in sticky):
                    share = sum(way.probability for way in sticky)
                    frames = np.stack([way.frame for way in sticky])
                    value = float(mass(dream, frames, 0)[:-1].sum())
                    compared["the last action sticks"].append((value, float(share), number))
    for name, values in sorted(compared.items()):
        array = np.array(values)
        gap = mean_interval((array[:, 0] - array[:, 1]).tolist())
        print(
            f"{name}: {len(array):,} moments; dream {array[:, 0].mean():.4f}, game "
            f"{array[:, 1].mean():.4f}; difference 95 % {gap[0]:+.4f} to {gap[1]:+.4f}"
            if gap
            else name
        )


if __name__ == "__main__":
    main()
