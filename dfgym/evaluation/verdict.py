"""What an evaluation says in words: findings, what matters most first, and one line over all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

LINES = 12
"""The terminal shows so many findings of each level at most."""


Level = Literal["fault", "flaw", "untested", "merit"]
"""How much a finding matters, the worst first: a fault means that the world cannot serve as the
game; a flaw, that it differs in what a player would notice or learn from."""
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Finding:
    """One thing to know of a world.

    Attributes:
        level: how much it matters.
        words: a clause without a full stop, like "does not listen to actions".
        severity: orders the findings of one level; the largest comes first.
    """

    level: Level
    words: str
    severity: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """All findings of an evaluation, in order.

    Attributes:
        overall: one line.
        findings: what matters most first.
    """

    overall: str
    findings: tuple[Finding, ...]

    def lines(self) -> list[str]:
        """Return the verdict for the terminal, a finding a line."""
        lines = [f"verdict: {self.overall}"]
        for level in LEVELS:
            words = [finding.words for finding in self.findings if finding.level == level]
            lines += [f"  {level}: {text}" for text in words[:LINES]]
            if len(words) > LINES:
                lines.append(f"  {level}: and {len(words) - LINES} more, in the report")
        return lines


def conclude(findings: Iterable[Finding]) -> Verdict:
    """Order the findings and draw the overall line."""
    ordered = tuple(sorted(findings, key=lambda item: (LEVELS.index(item.level), -item.severity)))
    counts = {level: sum(item.level == level for item in ordered) for level in LEVELS}
    if counts["fault"]:
        text = f"not fit to play or to train in: {ordered[0].words}"
    elif counts["flaw"]:
        text = f"playable, with {_number(counts['flaw'], 'flaw')}; the first: {ordered[0].words}"
    elif counts["merit"]:
        text = "no fault was measured"
    else:
        text = "nothing was tested"
    if counts["untested"] and counts["merit"] + counts["flaw"] + counts["fault"]:
        text += f" ({_number(counts['untested'], 'thing')} not tested)"
    return Verdict(text, ordered)


def sentence(clauses: Sequence[str]) -> str:
    """Join clauses to a sentence."""
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}."


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)
