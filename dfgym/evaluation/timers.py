"""Hidden timers: whether what a game does every so many steps has the same periods in the dream.

No frame shows such a timer; what it does, it does when it runs out. A world whose window is shorter
than the period can keep it only by a memory that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfgym.errors import ConfigError
from dfgym.evaluation.rollout import Dream, Episode, Real, Rows, find_game, policies, roll
from dfgym.evaluation.subject import MakeDynamics
from dfgym.games import Game
from dfgym.world.card import Card


def find_periods(game: Game, episodes: Sequence[Episode]) -> dict[str, np.ndarray]:
    """Return the steps from each time that a timer ran out to the next, of all episodes, by timer.

    Raises:
        ConfigError: the game has no hidden timers that can be read off its frames.
    """
    if game.timers is None:
        raise ConfigError(f"no hidden timers of {game.env_id} are known")
    periods: dict[str, list[np.ndarray]] = {}
    for episode in episodes:
        for name, events in game.timers(episode.frames).items():
            periods.setdefault(name, []).append(np.diff(np.flatnonzero(events)))
    return {name: np.concatenate(parts) for name, parts in periods.items()}


def distance(one: np.ndarray, other: np.ndarray) -> float | None:
    """Return how far apart periods `(n,)` and `(m,)` are spread: 0 for alike, 1 for apart.

    It is the total variation between their histograms; None where there are none of one kind.
    """
    if not len(one) or not len(other):
        return None
    size = int(max(one.max(), other.max())) + 1
    shares = [np.bincount(periods, minlength=size) / len(periods) for periods in (one, other)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def compare(dream: dict[str, np.ndarray], real: dict[str, np.ndarray]) -> dict[str, Any]:
    """Compare periods by timer.

    Returns:
        Of each timer the `usual` real period, the shares of `dream` and `real` periods that are
        just as long, their `distance`, and how many there were, `dream_count` and `real_count`.
        None is what cannot be said.
    """
    result = {}
    for name, periods in real.items():
        own = dream.get(name, np.empty(0, np.int64))
        usual = int(np.bincount(periods).argmax()) if len(periods) else None
        result[name] = {
            "usual": usual,
            "dream": float((own == usual).mean()) if len(own) else None,
            "real": float((periods == usual).mean()) if len(periods) else None,
            "distance": distance(own, periods),
            "dream_count": len(own),
            "real_count": len(periods),
        }
    return result


def measure(
    make: MakeDynamics, card: Card, steps: int = 8_000, rows: int = 16, seed: int = 7
) -> dict[str, Any]:
    """Let the scripted player play the dream and the real game for as many steps, and `compare`.

    Raises:
        ConfigError: no hidden timers of the world's game are known.
    """
    game = find_game(card)
    if game is None or game.timers is None:
        raise ConfigError(f"no hidden timers of {card.source.env} are known")
    sides: tuple[Rows, Rows] = (Dream(make(rows), seed), Real(card, rows, seed))
    limit = card.episode.max_steps
    dream, real = (
        find_periods(game, roll(side, policies(card, rows, 0.0, seed), steps, limit))
        for side in sides
    )
    return compare(dream, real)
