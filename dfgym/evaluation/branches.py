"""All that can come next: from the same moments and for every action, in dream and real game.

The real game is brought back to each moment (`dfgym.games.twin`), and its chance is walked through
if it can be, otherwise drawn many times. The dream's is a list of outcomes with probabilities in a
world that tells outcomes apart, otherwise samples. `counterfactual` and `chance` read the result.

Legend: n moments, a actions, k ways, h w a frame of the model's size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dfgym.actions import Row
from dfgym.errors import NotMeasuredError
from dfgym.evaluation import moments
from dfgym.evaluation.moments import BLUR, Moment
from dfgym.games.outcomes import Belief, Outcome, Twin

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfgym.world.card import Card
    from dfgym.world.dynamics import Dynamics

COUNT, QUICK_COUNT = 64, 8
"""Moments."""
DRAWS, QUICK_DRAWS = 200, 50
"""So often a moment is drawn again where chance cannot be walked through."""
SAMPLES = 16
"""Draws of a dream that tells no outcomes apart."""
AGE = 300
"""Real games are played for so long, so that moments are early and late ones."""
BATCH = 64
"""Moments in one batch of the dream."""
PARTS = 4
"""So many actions are tried where actions have parts."""
SECONDS, LEAST, MOST_SECONDS = 30.0, 4, 90.0
"""No further moment is looked at after this time, if so many have been; and none at all if there
are fewer after the last."""
EPSILON = 0.2


@dataclass(frozen=True)
class Branch:
    """What one action can lead to from one moment: k ways that draw different frames.

    Attributes:
        frames: uint8 `(k, h, w, 3)`.
        probabilities: float64 `(k,)`, which add up to 1.
        reward: the expected one.
        end: the probability that the episode ends.
        draws: as many were drawn; None if the probabilities are exact.
    """

    frames: np.ndarray
    probabilities: np.ndarray
    reward: float
    end: float
    draws: int | None

    @property
    def entropy(self) -> float:
        """Of the next frame, in nats."""
        return float(-(self.probabilities * np.log(self.probabilities)).sum())


@dataclass(frozen=True)
class Branches:
    """The ways of every action from the same moments, in the dream and in the real game.

    Attributes:
        actions: the names of the actions, a of them.
        last: uint8 `(n, h, w, 3)`, the moments' own frames.
        dream: n lists over the actions.
        real: likewise.
        tolerance: grey levels by which a frame may be off in any pixel and still be the same.
    """

    actions: Sequence[str]
    last: np.ndarray
    dream: list[list[Branch]]
    real: list[list[Branch]]
    tolerance: int

    @property
    def exact(self) -> bool:
        """Whether the real game's probabilities are exact."""
        return all(branch.draws is None for row in self.real for branch in row)

    @property
    def draws(self) -> int | None:
        """The draws behind a branch of the dream; None if its probabilities are exact."""
        return self.dream[0][0].draws


def grow(
    make: Callable[[int], Dynamics],
    card: Card,
    count: int = COUNT,
    draws: int = DRAWS,
    seed: int = 5,
    age: int = AGE,
) -> Branches:
    """Branch from moments of real games, by all actions.

    Args:
        make: makes the dynamics.
        card: of the world.
        count: the number of moments; fewer if the real game is slow.
        draws: of a real moment whose chance cannot be walked through.
        seed: of the games, the player, the moments and all draws.
        age: each real game is played for so many steps at least.

    Raises:
        NotMeasuredError: the real game cannot be brought back to a moment, or is too slow.
    """
    pasts = moments.draw(card, count, EPSILON, seed, least=age)
    actions, names = choices(card)
    real = _real(moments.open_judge(card), pasts, actions, draws, seed)
    pasts = pasts[: len(real)]
    last = np.stack([past.episode.frames[past.at] for past in pasts])
    dream = _dream(make, pasts, actions, seed)
    return Branches(names, last, dream, real, 0 if card.frames.palette else BLUR)


def choices(card: Card) -> tuple[list[Row], list[str]]:
    """Return the actions that are tried, all if they can be counted, and their names."""
    space = card.actions
    if space.is_discrete:
        return list(range(space.count)), [str(meaning) for meaning in space.meanings]
    rows = [space.rest, *space.extremes()][:PARTS]
    return rows, [", ".join(f"{value:g}" for value in np.atleast_1d(row)) for row in rows]


def _real(
    twin: Twin, pasts: Sequence[Moment], actions: Sequence[Row], draws: int, seed: int
) -> list[list[Branch]]:
    """Branch in the real game until the time is over."""
    result: list[list[Branch]] = []
    begin = time.monotonic()
    for place, past in enumerate(pasts):
        if len(result) >= LEAST and time.monotonic() - begin > SECONDS:
            break
        belief, frame = twin.begin(past.episode.seed, list(past.episode.actions[: past.at]))
        if not np.array_equal(frame, past.episode.frames[past.at]):
            raise NotMeasuredError(
                "the real game does not come back to a moment by its seed and its actions, so it "
                "has chance that its seed does not rule"
            )
        row = []
        for action in actions:
            ways, exact = odds(twin, belief, action, draws, seed + place)
            chances = np.array([way.probability for way in ways])
            rewards, ends = np.array([(way.reward, way.terminated) for way in ways], float).T
            frames = np.stack([way.frame for way in ways])
            row.append(merge_ways(frames, chances, rewards, ends, None if exact else len(ways)))
            if len(result) < LEAST and time.monotonic() - begin > MOST_SECONDS:
                raise NotMeasuredError(
                    f"the real game is too slow to be brought back: {len(result)} moments in "
                    f"{MOST_SECONDS:.0f} seconds, and {LEAST} are needed"
                )
        result.append(row)
    return result


def odds(
    twin: Twin, belief: Belief, action: Row, draws: int, seed: int
) -> tuple[list[Outcome], bool]:
    """Return how the real game goes on from what is known of it, with probabilities.

    Args:
        twin: the real game.
        belief: the states that it can be in.
        action: the next one.
        draws: how often it is drawn where its chance cannot be walked through.
        seed: of the draws.

    Returns:
        Outcomes whose probabilities add up to 1, and whether those are exact, not frequencies.
    """
    weights = np.array([weight for _, weight in belief])
    try:
        ways = [
            way._replace(probability=weight * way.probability)
            for state, weight in belief
            for way in twin.outcomes(state, action)
        ]
    except NotMeasuredError:
        ways = []
    if np.isclose(sum(way.probability for way in ways), 1):
        return ways, True
    random, draws = np.random.default_rng(seed), min(draws, twin.most_draws)
    even = bool(np.isnan(weights).any())
    places = random.choice(len(belief), draws, p=None if even else weights / weights.sum())
    seeds = random.integers(2**32, size=draws).tolist()
    pairs = zip(places.tolist(), seeds, strict=True)
    ways = [twin.draw(belief[place][0], action, item) for place, item in pairs]
    return [way._replace(probability=1 / draws) for way in ways], False


def _dream(
    make: Callable[[int], Dynamics], pasts: Sequence[Moment], actions: Sequence[Row], seed: int
) -> list[list[Branch]]:
    """Branch in the dream."""
    dynamics = make(min(BATCH, len(pasts)))
    rows, space = dynamics.num_rows, dynamics.world.card.actions
    draws = None if dynamics.exact else SAMPLES
    result: list[list[Branch]] = []
    for first in range(0, len(pasts), rows):
        batch = pasts[first : first + rows]
        moments.begin(dynamics, batch, seed + first)
        columns = []
        for action in actions:
            ways = dynamics.outcomes(space.stack([action] * rows), SAMPLES)
            numbers = (ways.frames, ways.probabilities, ways.rewards, ways.termination_probability)
            columns.append([merge_ways(*row, draws) for row in zip(*numbers, strict=True)])
        result += [list(row) for row in zip(*columns, strict=True)][: len(batch)]
    return result


def merge_ways(
    frames: np.ndarray,
    probabilities: np.ndarray,
    rewards: np.ndarray,
    ends: np.ndarray,
    draws: int | None,
) -> Branch:
    """Put the ways together that draw the same frame."""
    places: dict[bytes, int] = {}
    numbers = [places.setdefault(frame.tobytes(), len(places)) for frame in frames]
    sums = np.bincount(numbers, probabilities, len(places))
    firsts = [numbers.index(place) for place in range(len(places))]
    possible = sums > 0
    return Branch(
        frames[firsts][possible],
        sums[possible] / sums.sum(),
        float(probabilities @ rewards),
        float(probabilities @ ends),
        draws,
    )


def align(frames: np.ndarray, others: np.ndarray, tolerance: int) -> np.ndarray:
    """Return which of the other frames each frame shows, int `(k,)`; -1 for none.

    Args:
        frames: uint8 `(k, h, w, 3)`.
        others: uint8 `(m, h, w, 3)`.
        tolerance: grey levels by which any pixel may differ.
    """
    gaps = np.array([[_gap(frame, other) for other in others] for frame in frames])
    return np.where(gaps.min(1) <= tolerance, gaps.argmin(1), -1)


def mass(branch: Branch, others: np.ndarray, tolerance: int) -> np.ndarray:
    """Return a branch's probability of each of some frames, and at the end of any other one."""
    places = align(branch.frames, others, tolerance)
    return np.bincount(
        np.where(places < 0, len(others), places), branch.probabilities, len(others) + 1
    )


def _gap(frame: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(frame.astype(np.int16) - other).max())
