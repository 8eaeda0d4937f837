"""Verdicts on claims: what a claim says must hold, asked of the numbers that the study measured.

Legend: the numbers of a game are what `Finding.numbers` holds for it, as its JSON holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Numbers = dict[str, Any]
Verdict = Literal["supported", "partly", "not supported", "not tested"]
WORDS = {True: "yes", False: "no", None: "not tested"}


@dataclass(frozen=True)
class Condition:
    """A part of a claim that holds or does not.

    Attributes:
        text: what must hold, with an interval's gap where it says more, fewer or less.
        holds: answers from the numbers of one game, None where they do not tell. Without it, the
            study does not try this part.
    """

    text: str
    holds: Callable[[Numbers], bool | None] | None = None

    def answers(self, numbers: Mapping[str, Numbers]) -> dict[str, bool | None]:
        """Return the answer for each game."""
        if self.holds is None:
            return {}
        return {game: self.holds(of_game) for game, of_game in numbers.items()}


def judge(conditions: Sequence[Condition], numbers: Mapping[str, Numbers]) -> Verdict:
    """Return what the numbers say of a claim.

    It is supported if every condition was tried and holds in every game where it can be asked, not
    supported if none holds in any, not tested if none was tried, and else supported partly.
    """
    answers = [
        [answer for answer in condition.answers(numbers).values() if answer is not None]
        for condition in conditions
    ]
    if not any(answers):
        return "not tested"
    if all(of_one and all(of_one) for of_one in answers):
        return "supported"
    return "partly" if any(any(of_one) for of_one in answers) else "not supported"


def explain(conditions: Sequence[Condition], numbers: Mapping[str, Numbers]) -> str:
    """Return the conditions and their answers as a Markdown list."""
    lines = []
    for condition in conditions:
        answers = condition.answers(numbers).items()
        words = ", ".join(f"{game} {WORDS[answer]}" for game, answer in answers)
        lines.append(f"- {condition.text}: {words or WORDS[None]}")
    return "\n".join(lines)


def more_errors(numbers: Numbers, other: Numbers) -> bool:
    """Return whether a mean error is the greater one, with a gap between the intervals.

    Both are numbers of a curve, see `write.summarize`; so `Curve.differs` says the same.
    """
    return bool(numbers["interval"][0] > other["interval"][1])


def never_more(all_numbers: Iterable[Numbers], other: Numbers) -> bool:
    """Return whether no mean error is greater than another, with a gap between the intervals."""
    return not any(more_errors(numbers, other) for numbers in all_numbers)
