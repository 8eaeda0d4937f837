"""How often a dream breaks the real game's rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfgym.errors import ConfigError, NotMeasuredError
from dfgym.evaluation.plays import freeze
from dfgym.evaluation.plots import Bar, bar_plot
from dfgym.evaluation.report import Figure, Rung, Section, Table
from dfgym.evaluation.rollout import Dream, Episode, Real, Rows, find_game, policies, roll
from dfgym.evaluation.subject import Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.games import Game, Verdicts
from dfgym.world.card import Card

NAME = "legality"
COUNT = 10_000
ROWS = 16
COPIED = 2000
"""About so many transitions of the real play are judged as copies of a frame, too."""
FLAWED, FAULTY = 10.0, 100.0
"""More illegal transitions in 1,000 than these are a flaw, a fault."""


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


def play_and_judge(
    rows: Rows,
    card: Card,
    transitions: int = COUNT,
    epsilon: float = 0.2,
    max_steps: int = 500,
    seed: int = 0,
) -> Legality:
    """Have the scripted policy play, and judge every transition; see `play`."""
    game, episodes = play(rows, card, transitions, epsilon, max_steps, seed)
    return count(judge(game, episode) for episode in episodes)


def play(
    rows: Rows,
    card: Card,
    transitions: int = COUNT,
    epsilon: float = 0.2,
    max_steps: int = 500,
    seed: int = 0,
) -> tuple[Game, list[Episode]]:
    """Have the scripted policy play; returns the game, whose judge knows its rules, and episodes.

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
    policy = policies(card, rows.num_rows, epsilon, seed)
    return game, roll(rows, policy, transitions, max_steps)


def measure(subject: Subject) -> dict[str, Any]:
    """Judge every transition of the dream and, as a check of the judge, of the real game.

    Returns:
        For `dream`, `real` and `copy` (a real frame for ever) the counts of `Legality`, and the
        shares that follow from them.

    Raises:
        NotMeasuredError: no judge knows the game's rules.
    """
    card = subject.card
    if not has_rules(card):
        raise NotMeasuredError(
            f"no judge knows the rules of {card.source.env} at {card.frames.height} x "
            f"{card.frames.width} pixels; its file in dfgym/games/ can give it one"
        )
    transitions, seed = subject.scale(COUNT), subject.seed_of(0)
    _, dream = play(Dream(subject.make(ROWS), seed), card, transitions, seed=seed)
    game, real = play(Real(card, ROWS, seed), card, transitions, seed=seed)
    return compare(game, dream, real)


def compare(game: Game, dream: Sequence[Episode], real: Sequence[Episode]) -> dict[str, Any]:
    """Judge episodes that were played before; the same result as `measure`."""
    lengths = np.cumsum([0, *map(len, real)])
    copies = [freeze(e) for e, before in zip(real, lengths, strict=False) if before < COPIED]
    sides = {"dream": dream, "real": real, "copy": copies}
    return {name: _table(count(judge(game, e) for e in side)) for name, side in sides.items()}


def _table(counts: Legality) -> dict[str, float]:
    return {
        "transitions": counts.transitions,
        "illegal": counts.illegal,
        "wrong": counts.wrong,
        "sticky": counts.sticky,
        "illegal_per_1000": counts.illegal_per_1000,
        "wrong_per_1000": counts.wrong_per_1000,
        "sticky_share": counts.sticky_share,
    }


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return how often the dream breaks the rules, if the judge can be trusted."""
    dream, real = result["dream"], result["real"]
    if real["illegal"]:
        words = (
            f"the rules were not tested: the judge forbids {real['illegal']:,} of "
            f"{real['transitions']:,} transitions of the real game, so it judges another game"
        )
        return [Finding("untested", words)]
    rate = dream["illegal_per_1000"]
    words = f"{rate:.2f} of 1,000 transitions break the game's rules"
    level: Level = "fault" if rate > FAULTY else "flaw" if rate > FLAWED else "merit"
    items = [Finding(level, words, rate)]
    if (wrong := dream["wrong_per_1000"]) > FLAWED:
        words = f"{wrong:.2f} of 1,000 lawful transitions have a wrong reward or end"
        items.append(Finding("flaw", words, wrong))
    return items


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of its legality."""
    names = ("transitions", "illegal_per_1000", "wrong_per_1000", "sticky_share")
    entries = {name: result["dream"][name] for name in names}
    return {NAME: {**entries, "sticky_share_real": result["real"]["sticky_share"]}}


def section(result: dict[str, Any]) -> Section:
    """Report how many transitions the real game's rules allow."""
    plots = [
        bar_plot(
            title,
            [
                Bar(name, scale * counts[key], form.format(scale * counts[key]), name)
                for name, counts in result.items()
                if name != "copy"
            ],
            least,
        )
        for key, title, scale, form, least in (
            ("illegal_per_1000", "illegal transitions in 1,000", 1, "{:.2f}", 10.0),
            ("wrong_per_1000", "wrong reward or end in 1,000 legal ones", 1, "{:.2f}", 2.0),
            ("sticky_share", "transitions by a repeated last action", 100, "{:.2f} %", 0.0),
        )
    ]
    rows = [
        [
            name,
            f"{counts['transitions']:,}",
            f"{counts['illegal_per_1000']:.2f}",
            f"{counts['wrong_per_1000']:.2f}",
            f"{100 * counts['sticky_share']:.2f} %",
        ]
        for name, counts in result.items()
    ]
    header = ["", "transitions", "illegal in 1,000", "wrong in 1,000 legal", "last action repeated"]
    dream, real = result["dream"], result["real"]
    return Section(
        "Legal transitions",
        f"The real game's rules forbid {dream['illegal']:,} of {dream['transitions']:,} dreamed "
        f"transitions, and {real['illegal']:,} of {real['transitions']:,} of its own. Of the "
        f"legal dreamed ones {dream['wrong']:,} have a wrong reward or end.",
        "A transition is legal if the real game's rules lead to its frame from any hidden state "
        "that fits all that was drawn before, under the commanded action or, where the game's "
        "chance repeats the last action, under that one. The scripted player with 20 % random "
        "actions plays episodes of 500 frames at most.",
        [
            Figure(f"{dream['illegal_per_1000']:.2f}", "of 1,000 dreamed transitions are illegal"),
            Figure(
                f"{dream['wrong_per_1000']:.2f}", "of 1,000 legal ones have a wrong reward or end"
            ),
        ],
        plots,
        Table(header, rows),
        [
            Rung(
                "laws",
                "Does it keep the game's rules? (illegal in 1,000)",
                *(f"{counts['illegal_per_1000']:.2f}" for counts in result.values()),
            )
        ],
    )
