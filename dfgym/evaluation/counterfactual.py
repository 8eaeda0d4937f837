"""What every action would have led to: the dream's answers beside the real game's.

A recording holds one action a moment. Here all of them are tried, from the same moments, and the
*sets* of next frames are compared: by the total variation of their probabilities, by the share of
the dream's that the real game can draw (for each action), and by whether two actions that part in
the real game part in the dream.

Legend: n moments, a actions.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from dfgym.evaluation.branches import Branch, Branches, mass
from dfgym.evaluation.plots import Bar, bar_plot
from dfgym.evaluation.report import Figure, Rung, Section, Table, percent
from dfgym.evaluation.subject import Subject
from dfgym.evaluation.verdict import Finding, Level
from dfgym.statistics import bootstrap_interval

NAME = "counterfactual"
APART = 0.5
"""Two actions part if the total variation between their next frames exceeds this."""
FLAWED, FAULTY = 0.05, 0.3
"""More total variation than these is a flaw, a fault."""
DEAF = 0.8
"""If a smaller share of the actions that part do so in the dream, it is a flaw; half of it, a
fault."""
RESAMPLES = 2000


def measure(subject: Subject) -> dict[str, Any]:
    """Compare the answers to every action; see `compare`."""
    return compare(subject.branches)


def compare(branches: Branches, seed: int = 0) -> dict[str, Any]:
    """Compare what every action leads to in dream and real game.

    Args:
        branches: from the same moments.
        seed: of the real game's draws against itself.

    Returns:
        `moments`, `actions`, `exact` (whether the real odds are) and, for `dream`, `real` (the real
        game drawn as often as the dream, against itself) and `copy`: `total_variation`, its 95 %
        `interval` over moments, `legal` (the share of the probability that lies on frames which the
        real game can draw) and `legal_by_action`. For `dream` also `apart` (of the pairs of actions
        that part in the real game, the share that part in the dream), `pairs` (how many there are;
        `apart` is None if there are none), and the mean errors of the expected `reward_error` and
        of the probability of an `end_error`, signed: more than 0 is too much.
    """
    random = np.random.default_rng(seed)
    real, dream, tolerance = branches.real, branches.dream, branches.tolerance
    sides = {"dream": dream, "real": [[_redraw(b, branches, random) for b in row] for row in real]}
    sides["copy"] = [
        [Branch(frame[None], np.ones(1), 0.0, 0.0, None) for _ in branches.actions]
        for frame in branches.last
    ]
    result: dict[str, Any] = {
        "moments": len(real),
        "actions": list(branches.actions),
        "exact": branches.exact,
    }
    for name, side in sides.items():
        gaps, legal = _compare_side(side, real, tolerance)
        result[name] = {
            "total_variation": float(gaps.mean()),
            "interval": list(bootstrap_interval(gaps.mean(1), _mean, resamples=RESAMPLES)),
            "legal": float(legal.mean()),
            "legal_by_action": legal.mean(0).tolist(),
        }
    pairs = [_parted(*rows, tolerance) for rows in zip(dream, real, strict=True)]
    count = sum(len(row) for row in pairs)
    both = zip(_flatten(dream), _flatten(real), strict=True)
    errors = np.array([(d.reward - r.reward, d.end - r.end) for d, r in both])
    result["dream"] |= {
        "pairs": count,
        "apart": sum(map(sum, pairs)) / count if count else None,
        "reward_error": float(errors[:, 0].mean()),
        "end_error": float(errors[:, 1].mean()),
    }
    return result


def _mean(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.mean(-1))


def _flatten(side: list[list[Branch]]) -> list[Branch]:
    return [branch for row in side for branch in row]


def _redraw(branch: Branch, branches: Branches, random: np.random.Generator) -> Branch:
    """Draw from the real game's ways as often as the dream was drawn, or as the real game was."""
    draws = branches.draws or branch.draws
    if draws is None:
        return branch
    counts = random.multinomial(draws, branch.probabilities)
    present = counts > 0
    frames, chances = branch.frames[present], counts[present] / draws
    return Branch(frames, chances, branch.reward, branch.end, draws)


def total_variation(branch: Branch, real: Branch, tolerance: int) -> tuple[float, float]:
    """Return the total variation between two branches, and the first's legal share, in [0, 1]."""
    masses = mass(branch, real.frames, tolerance)
    legal = float(masses[:-1].sum())
    return 0.5 * float(np.abs(masses[:-1] - real.probabilities).sum() + 1 - legal), legal


def _compare_side(
    side: list[list[Branch]], real: list[list[Branch]], tolerance: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return total variations and legal shares, float `(n, a)`."""
    both = [
        [total_variation(branch, truth, tolerance) for branch, truth in zip(*rows, strict=True)]
        for rows in zip(side, real, strict=True)
    ]
    gaps, legal = np.moveaxis(np.array(both), -1, 0)
    return gaps, legal


def _parted(dream: list[Branch], real: list[Branch], tolerance: int) -> list[bool]:
    """Return, for each pair of actions that part in the real game, whether they do in the dream."""
    frames = np.concatenate([branch.frames for branch in real])
    shares = [[mass(branch, frames, tolerance) for branch in side] for side in (dream, real)]
    gaps = [[0.5 * float(np.abs(x - y).sum()) for x, y in combinations(side, 2)] for side in shares]
    return [of_dream > APART for of_dream, of_real in zip(*gaps, strict=True) if of_real > APART]


def findings(result: dict[str, Any]) -> list[Finding]:
    """Return whether every action has the consequences of the real game."""
    dream, real = result["dream"], result["real"]
    excess = dream["total_variation"] - real["total_variation"]
    words = (
        f"from one moment, what each action leads to differs by {dream['total_variation']:.3f} in "
        f"total variation ({real['total_variation']:.3f} for the real game against itself)"
    )
    level: Level = "fault" if excess > FAULTY else "flaw" if excess > FLAWED else "merit"
    items = [Finding(level, words, 10 * excess)]
    share = dream["apart"]
    if share is not None and share < DEAF:
        words = f"{percent(share)} of the pairs of actions that part in the real game do so here"
        items.append(Finding("fault" if share < DEAF / 2 else "flaw", words, 10 * (1 - share)))
    return items


def card_entries(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a world's card says of counterfactuals."""
    dream = result["dream"]
    names = ("total_variation", "legal", "apart", "reward_error")
    entries = {name: dream[name] for name in names if dream[name] is not None}
    return {NAME: {"moments": result["moments"], **entries}}


def section(result: dict[str, Any]) -> Section:
    """Report what actions lead to."""
    dream, names = result["dream"], ("dream", "real", "copy")
    rows = [
        [name, *(f"{result[side]['legal_by_action'][i]:.4f}" for side in names)]
        for i, name in enumerate(result["actions"])
    ]
    bars = [
        Bar(
            name,
            result[name]["total_variation"],
            f"{result[name]['total_variation']:.3f}",
            name,
            interval=tuple(result[name]["interval"]),
        )
        for name in names
    ]
    legal = [
        Bar(name, share, percent(share, 1), "dream")
        for name, share in zip(result["actions"], dream["legal_by_action"], strict=True)
    ]
    apart = "no two actions part in one step" if dream["apart"] is None else percent(dream["apart"])
    figures = {name: f"{result[name]['total_variation']:.3f}" for name in names}
    odds = "exact" if result["exact"] else "drawn, where the game's chance is too wide to walk"
    return Section(
        "Counterfactuals",
        f"From {result['moments']} moments and for each of {len(result['actions'])} actions, the "
        f"dream's next frames are off by {figures['dream']} in total variation "
        f"({dream['interval'][0]:.3f} to {dream['interval'][1]:.3f}), the real game's own by "
        f"{figures['real']}; {percent(dream['legal'], 1)} of the dream's can be drawn by the real "
        f"game. Of {dream['pairs']} pairs of actions that part in the real game, {apart} do so in "
        f"the dream. The reward to expect is off by {dream['reward_error']:+.4f} a step.",
        "The real game is brought back to moments of its own play, and every action is tried "
        f"there, in every way in which chance can fall; its odds are {odds}. Real against real is "
        "drawn as often as the dream; where both know their odds, it is 0.",
        [Figure(figures["dream"], "total variation of what actions lead to")],
        [
            bar_plot("total variation from the real game's next frames", bars, 0.1),
            bar_plot("share of the dream's next frames that are lawful", legal, 1.0),
        ],
        Table(["lawful share after", "dream", "real", "copy"], rows),
        [
            Rung("actions", "Does each action lead to the same next frames? (total variation)",
                 figures["dream"], figures["real"], figures["copy"]),
            Rung("actions", "Do actions that part in the game part in the dream?", apart, "100 %",
                 "0 %"),
        ],
    )  # fmt: skip
