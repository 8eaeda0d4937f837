"""How often a dream breaks the real game's rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dfgym import games
from dfgym.errors import ConfigError
from dfgym.evaluation.rollout import Episode, Rows, policies, roll
from dfgym.games import Game, Verdicts

if TYPE_CHECKING:
    from dfgym.world.card import Card


@dataclass(frozen=True)
class Legality:
    """The counts of a judge by the rules over many episodes."""

    transitions: int
    illegal: int
    wrong: int
    """Legal, with the wrong reward or termination."""
    sticky: int
    """Legal, and only the sticky outcome explains them."""

    @property
    def illegal_per_1000(self) -> float:
        """Illegal ones among 1,000 transitions."""
        return 1000 * self.illegal / max(1, self.transitions)

    @property
    def wrong_per_1000(self) -> float:
        """Reward or termination wrong among 1,000 legal transitions."""
        return 1000 * self.wrong / max(1, self.transitions - self.illegal)

    @property
    def sticky_share(self) -> float:
        """Share of the transitions in which the sticky outcome is visible, in [0, 1]."""
        return self.sticky / max(1, self.transitions)


def find_game(card: Card) -> Game | None:
    """Return what is known of a world's game, or None; also None if it is not drawn so large."""
    return games.find(card.source.env, (card.frames.height, card.frames.width))


def has_rules(card: Card) -> bool:
    """Whether a world's transitions can be judged by its game's rules."""
    game = find_game(card)
    return game is not None and game.judge is not None


def judge(game: Game, episode: Episode) -> Verdicts:
    """Judge one episode by the rules of a game that has a judge."""
    assert game.judge is not None
    return game.judge(episode.frames, episode.actions, episode.rewards, episode.terminated)


def count(verdicts: Iterable[Verdicts]) -> Legality:
    """Add up the verdicts of many episodes."""
    verdicts = list(verdicts)
    return Legality(
        transitions=sum(len(v.legal) for v in verdicts),
        illegal=sum(int((~v.legal).sum()) for v in verdicts),
        wrong=sum(int(v.wrong.sum()) for v in verdicts),
        sticky=sum(int(v.sticky.sum()) for v in verdicts),
    )


def measure(
    rows: Rows,
    card: Card,
    transitions: int = 10_000,
    epsilon: float = 0.2,
    max_steps: int = 500,
    seed: int = 0,
) -> Legality:
    """Have the scripted policy play, and judge every transition.

    Args:
        rows: of the dream or of the real game.
        card: of the world.
        transitions: over all rows.
        epsilon: the policy's share of random actions.
        max_steps: of one episode.
        seed: of the policy.

    Raises:
        ConfigError: No judge knows the game's rules.
    """
    game = find_game(card)
    if game is None or game.judge is None:
        raise ConfigError(
            f"`source.env` is {card.source.env!r} with frames of {card.frames.height} x "
            f"{card.frames.width}; no judge knows its rules; measure a world whose game has one"
        )
    episodes = roll(rows, policies(card, rows.num_rows, epsilon, seed), transitions, max_steps)
    return count(judge(game, episode) for episode in episodes)
