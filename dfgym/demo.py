"""`dfgym demo`: an agent that never saw the real game learns in the dream of it, then plays it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import numpy as np
from msgspec import Meta

from dfgym import checks
from dfgym.agents import ppo
from dfgym.agents.evaluate import Score, evaluate, find_policy
from dfgym.agents.sb3 import MAX_SEED, Minutes, make_venv
from dfgym.errors import ConfigError, MissingPackageError
from dfgym.evaluation.film import encode_gif, side_by_side
from dfgym.files import write_atomic
from dfgym.world import shelf

WORLD = shelf.DEFAULT
EPISODES = 100
SEED_OFFSET = 10_000  # between the seeds of training and those of the scored episodes
FILM_STEPS = 300


@dataclass(frozen=True)
class Config:
    """Train PPO in the dream, play the real game with it, and compare with random play."""

    minutes: Minutes = 4.0
    """Time to train for."""
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED - SEED_OFFSET)] = 0
    """Seed of the agent and of the environments; the machine's speed still changes the training."""
    out: Path = Path("dfgym-demo")
    """Folder for the agent and the GIF. Those of an earlier demo are replaced."""

    def __post_init__(self) -> None:
        """Refuse a time that is not positive and a seed out of range."""
        checks.check(self, ConfigError)


def demo(config: Config) -> dict[str, dict[str, Score]]:
    """Run the demo and return the scores by player (`random`, `this agent`) and place.

    Raises:
        WorldError: the world is not on the shelf, or it is damaged.
    """
    card = shelf.card(WORLD)
    places = {"dream": f"DFWorld/{WORLD}", "real game": f"DFReal/{WORLD}"}
    print(f"{WORLD}: {card.description}")
    try:
        gym.make(places["real game"]).close()
    except MissingPackageError as reason:
        del places["real game"]
        print(f"The real game is not installed, so this demo stays in the dream: {reason}")
    print(f"Training PPO in the dream for {config.minutes:g} minutes; it sees nothing else.")
    agent = ppo.train(
        ppo.Config(
            env=places["dream"],
            steps=10**9,
            minutes=config.minutes,
            seed=config.seed,
            out=config.out,
        )
    )
    players = {"random": "random", "this agent": f"sb3:ppo:{agent}"}
    scores = {
        name: {
            place: evaluate(agent_name, env, EPISODES, config.seed + SEED_OFFSET)
            for place, env in places.items()
        }
        for name, agent_name in players.items()
    }
    print(f"\nMean return of {EPISODES} episodes (95 % interval):")
    print(_table(scores))
    films = [
        _film(players["this agent"], env, config.seed + SEED_OFFSET) for env in places.values()
    ]
    film = config.out / "demo.gif"
    pictures = side_by_side(films[0], films[1], cell=4) if len(films) == 2 else films[0]
    write_atomic(film, encode_gif(pictures, card.frames.fps))
    print(f"\nSee it play: {film} ({' | '.join(places)})\nThe agent: {agent}")
    return scores


def _table(scores: dict[str, dict[str, Score]]) -> str:
    """Return the scores as text, one line a player and one column a place."""
    places = list(next(iter(scores.values())))
    lines = [" " * 12 + "".join(f"{place:>24}" for place in places)]
    for name, row in scores.items():
        cells = (f"{s.mean:.2f} ({s.interval[0]:.2f} to {s.interval[1]:.2f})" for s in row.values())
        lines.append(f"{name:12}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def _film(agent: str, env: str, seed: int) -> np.ndarray:
    """Return a film of an agent's play, uint8 `(t, h, w, 3)`, over as many episodes as fit."""
    venv = make_venv(env, 1)
    try:
        play, _ = find_policy(agent, env, venv, seed, greedy=False)
        venv.seed(seed)
        observations, begins = venv.reset(), np.ones(1, bool)
        assert isinstance(observations, np.ndarray)
        film = [observations[0].copy()]
        for _ in range(FILM_STEPS):
            observations, _, begins, infos = venv.step(play(observations, begins))
            if begins[0]:
                film.append(infos[0]["terminal_observation"])
            assert isinstance(observations, np.ndarray)
            film.append(observations[0].copy())
    finally:
        venv.close()
    return np.stack(film)
