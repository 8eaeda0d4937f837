"""The search against expectimax, on small games with chance whose every value is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfgym.errors import ConfigError
from dfgym.planning.search import (
    Decision,
    Evaluation,
    Expansion,
    SearchConfig,
    complete_q,
    halving_schedule,
    search,
    softmax,
)

DISCOUNT = 0.9


class Games:
    """Random games of a few levels, as trees: action, then outcome, and so on.

    A state's number is its path. Rewards and ends are drawn once; the guess of a state's value is
    its true one with noise, and exact at the last level.
    """

    def __init__(self, games: int, seed: int, noise: float = 0.5, shape: Any = (2, 3, 3)) -> None:
        self.levels, self.actions, self.num_outcomes = shape
        random, k = np.random.default_rng(seed), self.num_outcomes
        counts = [(self.actions * k) ** level for level in range(self.levels + 1)]
        self.offsets = np.cumsum([0, *counts])
        states = int(self.offsets[-1])
        self.rows = np.arange(games)
        self.probabilities = random.dirichlet(np.ones(k), (games, states, self.actions))
        self.reward = random.normal(size=(games, states))  # on arrival
        self.survival = np.where(random.random((games, states)) < 0.2, 0.3, 1.0)
        self.value = np.zeros((games, states))
        inner = int(self.offsets[-2])
        self.value[:, inner:] = random.normal(size=(games, states - inner))
        self.q = np.zeros((games, inner, self.actions))
        returns = np.zeros((games, states))
        for state in reversed(range(states)):
            if state < inner:
                below = np.array([self.children(state, a) for a in range(self.actions)])
                self.q[:, state] = (self.probabilities[:, state] * returns[:, below]).sum(-1)
                self.value[:, state] = self.q[:, state].max(1)
            returns[:, state] = (
                self.reward[:, state] + DISCOUNT * self.survival[:, state] * self.value[:, state]
            )
        self.guess = self.value + noise * random.normal(size=self.value.shape)
        self.guess[:, inner:] = self.value[:, inner:]

    def children(self, state: int, action: int) -> np.ndarray:
        level = int(np.searchsorted(self.offsets, state, side="right")) - 1
        within = (state - self.offsets[level]) * self.actions + action
        return self.offsets[level + 1] + within * self.num_outcomes + np.arange(self.num_outcomes)

    def root(self) -> Evaluation:
        self.states = np.zeros((len(self.rows), 1), np.int64)
        return Evaluation(np.zeros((len(self.rows), self.actions)), self.guess[:, 0])

    def expand(self, parents: np.ndarray, actions: np.ndarray, first: int) -> Expansion:
        k, b = self.num_outcomes, len(self.rows)
        there = self.states[self.rows, parents]
        last = there >= self.offsets[-2]  # below the last level everything stays as it is
        below = np.stack(
            [
                self.children(min(s, self.offsets[-2] - 1), a)
                for s, a in zip(there, actions, strict=True)
            ]
        )
        below = np.where(last[:, None], there[:, None], below)
        states = np.zeros((b, first + k), np.int64)
        states[:, : self.states.shape[1]] = self.states
        states[:, first:] = below
        self.states = states
        rows = self.rows[:, None]
        weights = np.where(last[:, None], 1 / k, self.probabilities[self.rows, there, actions])
        reward = np.where(
            last[:, None], self.value[rows, below] * (1 - DISCOUNT), self.reward[rows, below]
        )
        survival = np.where(last[:, None], 1.0, self.survival[rows, below])
        logits = np.zeros((b, k, self.actions))
        evaluation = Evaluation(logits, self.guess[rows, below])
        numbers = np.tile(first + np.arange(k), (b, 1))
        return Expansion(np.log(weights), reward, survival, evaluation, numbers)


def decide(games: Games, simulations: int, seed: int = 0, **settings: Any) -> Decision:
    config = SearchConfig(simulations, discount=DISCOUNT, **settings)
    return search(games, config, np.random.default_rng(seed))


def agreement(games: Games, decision: Decision) -> float:
    return float((decision.action == games.q[:, 0].argmax(1)).mean())


@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 6, 2), (3, 2, 2)])
def test_the_best_action_of_expectimax_is_found(shape: Any) -> None:
    games = Games(300, 0, shape=shape)
    few, many = (agreement(games, decide(games, count)) for count in (4, 256))
    assert many >= 0.99 and few < many


def test_values_come_to_be_those_of_expectimax() -> None:
    games = Games(200, 1)
    decision = decide(games, 256, gumbel_scale=0)
    best = np.take_along_axis(decision.q, decision.action[:, None], 1)[:, 0]
    assert np.abs(best - games.value[:, 0]).mean() < 0.02
    assert np.abs(decision.value - games.value[:, 0]).mean() < 0.1
    assert np.abs(games.guess[:, 0] - games.value[:, 0]).mean() > 0.3  # what it began with


def test_exact_chance_needs_fewer_simulations_than_sampled() -> None:
    games = Games(400, 2)
    for simulations in (8, 16, 32, 64):
        exact = agreement(games, decide(games, simulations))
        sampled = agreement(games, decide(games, simulations, chance="sampled"))
        assert exact >= sampled
    assert agreement(games, decide(games, 16)) > 0.05 + agreement(
        games, decide(games, 16, chance="sampled")
    )


def test_sampled_chance_is_right_in_the_end() -> None:
    games = Games(100, 3, shape=(1, 3, 3))
    decision = decide(games, 1024, chance="sampled", gumbel_scale=0)
    best = np.take_along_axis(decision.q, decision.action[:, None], 1)[:, 0]
    assert np.abs(best - games.value[:, 0]).mean() < 0.05


def test_the_policy_improves_on_the_prior_with_any_budget() -> None:
    """The improved policy is worth at least the prior's (Danihelka et al. 2022, section 3)."""
    games = Games(500, 4, noise=0)
    prior = games.q[:, 0].mean(1)
    for simulations in (2, 3, 4, 8, 16):
        decision = decide(games, simulations)
        assert games.q[np.arange(500), 0, decision.action].mean() > prior.mean()
        assert np.allclose(decision.policy.sum(1), 1)
        assert (decision.visits.sum(1) == simulations).all()
        assert (decision.visits[np.arange(500), decision.action] > 0).all()


def test_a_search_is_a_function_of_its_generator() -> None:
    games = Games(50, 5)
    first, again, other = (decide(games, 8, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.visits, other.visits)
    calm = [decide(games, 8, seed, gumbel_scale=0) for seed in (0, 1)]
    assert np.array_equal(calm[0].visits, calm[1].visits)


def test_games_do_not_depend_on_each_other() -> None:
    games = Games(40, 6)
    alone = Games(40, 6)
    for name in ("probabilities", "reward", "survival", "value", "guess", "q"):
        setattr(alone, name, getattr(alone, name)[7:8])
    alone.rows = np.arange(1)
    mine, theirs = (decide(g, 32, gumbel_scale=0) for g in (alone, games))
    assert all(np.allclose(a[0], b[7]) for a, b in zip(mine, theirs, strict=True))


@given(st.integers(1, 40), st.integers(1, 200))
def test_halving_spends_the_budget_evenly(actions: int, simulations: int) -> None:
    schedule = halving_schedule(actions, simulations)
    assert len(schedule) == simulations and schedule[0] == 0
    # Never a visit number that no action can have: each comes after one less.
    for place, turn in enumerate(schedule):
        assert turn == 0 or turn - 1 in schedule[:place]


def test_untried_actions_have_the_mixed_value() -> None:
    """Danihelka et al. 2022, equation 33, worked by hand."""
    logits = np.log(np.array([[0.5, 0.25, 0.25]]))
    q = complete_q(logits, np.array([[2.0, 0, 5.0]]), np.array([[3, 0, 1]]), np.array([1.0]))
    mixed = (1 + 4 * (0.5 * 2 + 0.25 * 5) / 0.75) / 5
    assert np.allclose(q, [[2, mixed, 5]])
    assert np.allclose(softmax(logits), [[0.5, 0.25, 0.25]])


def test_noise_is_not_blown_up() -> None:
    """Actions that differ by noise alone: the prior's choice stands; others: the better one."""
    games = Games(300, 7, noise=0.0, shape=(1, 3, 2))
    games.reward[:], games.survival[:] = 0, 1
    random = np.random.default_rng(0)
    logits = 4 * random.normal(size=(300, 3))
    root = games.root
    games.root = lambda: root()._replace(logits=logits)  # type: ignore[method-assign]
    favourite = logits.argmax(1)

    def favoured(deviation: float, gain: float, noise: float) -> float:
        """How often the prior's favourite is taken where another action is better by `gain`."""
        values = deviation * random.normal(size=games.guess[:, 1:].shape)
        values += gain * (np.arange(6) // 2 != favourite[:, None])
        games.guess[:, 1:] = games.value[:, 1:] = values
        decision = decide(games, 6, gumbel_scale=0, value_noise=noise)
        return float((decision.action == favourite).mean())

    assert favoured(0.1, 0.0, 0.0) < 0.6 and favoured(0.1, 0.0, 0.1) > 0.8
    assert favoured(0.1, 4.0, 0.1) < 0.05


class Line:
    """Walks of `LENGTH` steps to the left, nowhere or to the right; one place at the end pays 1."""

    num_outcomes, LENGTH = 1, 6

    def __init__(self, merge: bool) -> None:
        self.goals, self.merge = np.arange(-self.LENGTH, self.LENGTH + 1), merge

    def root(self) -> Evaluation:
        self.states = [{0: (0, 0)} for _ in self.goals]  # times and places
        self.numbers = [dict[tuple[int, int], int]() for _ in self.goals]
        return Evaluation(np.zeros((len(self.goals), 3)), np.zeros(len(self.goals)))

    def expand(self, parents: np.ndarray, actions: np.ndarray, first: int) -> Expansion:
        pairs = zip(self.states, parents, actions, strict=True)
        there = [(*states[parent], int(action) - 1) for states, parent, action in pairs]
        below = [(time + 1, place + step) for time, place, step in there]
        nodes = [
            numbers.setdefault(state, first) if self.merge else first
            for numbers, state in zip(self.numbers, below, strict=True)
        ]
        for states, state in zip(self.states, below, strict=True):
            states[first] = state
        time, place = np.array(below).T[..., None]
        reward = ((time == self.LENGTH) & (place == self.goals[:, None])).astype(float)
        survival = (time < self.LENGTH).astype(float)
        nothing = np.zeros_like(reward)
        evaluation = Evaluation(np.zeros((*reward.shape, 3)), nothing)
        return Expansion(nothing, reward, survival, evaluation, np.array(nodes)[:, None])


def test_ways_that_meet_reach_further_together() -> None:
    """108 moves lead from place to place, and 729 walks to the end: how many goals are found."""
    together, apart = (
        (decide(Line(merge), 150, gumbel_scale=0).q.max(1) > 0.3).mean()  # type: ignore[arg-type]
        for merge in (True, False)
    )
    assert together > 0.6 and apart == 0


@pytest.mark.parametrize(
    "wrong", [{"simulations": 0}, {"simulations": -3}, {"discount": 0}, {"chance": "none"}]
)
def test_a_search_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"search.{next(iter(wrong))}"):
        SearchConfig(**wrong)
