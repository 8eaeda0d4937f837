"""Asterix: a player that reads pixels, and a judge that the real game never fails."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("minatar")

from dfgym import games
from dfgym.evaluation.rollout import Episode
from dfgym.games import Policy, RandomPolicy, Verdicts
from dfgym.games.asterix import ENEMY, GAME, AsterixPolicy, RuleBook, read_things
from dfgym.games.minatar import MinAtarEnv, env_id, palette, read_cells
from dfgym.games.rules import judge_by
from toys.judging import check_play_after_the_end, check_rewards_and_ends, play_real

judge_episode = judge_by(RuleBook)

EMPTY, PLAYER, FOE, TRAIL, GOLD = palette(4)


play = functools.partial(play_real, "asterix")


def judge(episode: Episode) -> Verdicts:
    return judge_episode(episode.frames, episode.actions, episode.rewards, episode.terminated)


@pytest.fixture(scope="module")
def long() -> Episode:
    """A real episode with several treasures and two quicker levels."""
    return next(e for e in (play(AsterixPolicy(), seed) for seed in range(9)) if len(e) == 300)


@pytest.fixture
def episode(long: Episode) -> Episode:
    """The same, to be spoilt."""
    return dataclasses.replace(long, frames=long.frames.copy())


def test_it_is_known_by_its_id() -> None:
    assert games.find(env_id("asterix")) is GAME
    assert games.find(env_id("asterix"), (40, 40)) is None


# --- the player


def test_it_earns_where_chance_does_not() -> None:
    returns = {
        make: [play(make(), seed).rewards.sum() for seed in range(4)]
        for make in (AsterixPolicy, lambda: RandomPolicy(5, 0), lambda: AsterixPolicy(0, 0, 0.9))
    }
    good, chance, dawdling = map(np.mean, returns.values())
    assert good > 6 and chance < 1.5 and dawdling < good / 2


def test_cell_size_does_not_matter_and_the_seed_decides(long: Episode) -> None:
    small, large, other = (AsterixPolicy(0.2, seed, 0.5) for seed in (1, 1, 2))
    frames = long.frames[:200]
    actions = [small(frame) for frame in frames]
    assert actions == [large(frame.repeat(4, 0).repeat(4, 1)) for frame in frames]
    assert actions != [other(frame) for frame in frames]


def test_a_plan_begins_with_what_a_call_would_choose(long: Episode) -> None:
    caller, planner = AsterixPolicy(0.2, 3, 0.5), AsterixPolicy(0.2, 3, 0.5)
    assert all(planner.plan(frame[None], 1) == [caller(frame)] for frame in long.frames[:150])
    caller, planner = AsterixPolicy(0, 3), AsterixPolicy(0, 3)
    assert all(planner.plan(frame[None], 5)[0] == caller(frame) for frame in long.frames[:60])


def test_planned_play_foresees_the_moves() -> None:
    """Where every action is obeyed, it takes treasure with its eyes shut for two steps in three."""
    total, policy = 0.0, AsterixPolicy()
    for seed in range(4):
        env = MinAtarEnv("asterix", 0.0)
        policy.reset()
        observed, over = [env.reset(seed=seed)[0]], False
        for _ in range(60):
            plan, observed = policy.plan(np.stack(observed), 3), []
            for action in plan:
                frame, reward, over, *_ = env.step(action)
                observed.append(frame)
                total += reward
            if over:
                break
    assert total >= 8


def test_no_picture_makes_it_fail() -> None:
    chance, policy = np.random.default_rng(0), AsterixPolicy()
    for _ in range(50):
        picture = palette(4)[chance.integers(5, size=(10, 10))]
        assert set(policy.plan(picture[None], 6)) <= set(range(5))


# --- the judge

POLICIES: dict[str, Callable[[], Policy]] = {
    "scripted": lambda: AsterixPolicy(0.0, 1),
    "scripted, 20 % random": lambda: AsterixPolicy(0.2, 2),
    "dawdling": lambda: AsterixPolicy(0.0, 3, dawdle=0.8),
    "random": lambda: RandomPolicy(5, 4),
}


@pytest.mark.parametrize("name", POLICIES)
def test_real_game_is_never_illegal(name: str) -> None:
    policy, stuck, steps = POLICIES[name](), 0, 0
    for seed in range(100, 106):
        verdicts = judge(play(policy, seed))
        assert verdicts.legal.all() and not verdicts.wrong.any()
        assert verdicts.hidden.max() <= 25  # actions that change nothing leave a doubt
        stuck, steps = stuck + int(verdicts.sticky.sum()), steps + len(verdicts.sticky)
    assert 0.01 < stuck / steps < 0.1


def test_an_episode_may_be_cut_anywhere(long: Episode) -> None:
    for at in (31, 64, 200):
        verdicts = judge_episode(
            long.frames[at:], long.actions[at:], long.rewards[at:], long.terminated[at:]
        )
        assert verdicts.legal.all() and not verdicts.wrong.any()


def test_reward_and_termination_are_checked(episode: Episode) -> None:
    check_rewards_and_ends(judge_episode, episode)


def test_nothing_follows_the_end() -> None:
    check_play_after_the_end(judge_episode, play(RandomPolicy(5, 0), 0))


def row_of(frame: np.ndarray) -> int:
    """Return the first row in which something comes."""
    return min(read_things(read_cells(frame, palette(4))))


def shift(frame: np.ndarray) -> None:
    """Move a row's thing by two columns."""
    frame[row_of(frame)] = np.roll(frame[row_of(frame)], 2, 0)


def change(frame: np.ndarray) -> None:
    """Make an enemy of a treasure, or the reverse."""
    row = frame[row_of(frame)]
    foes, golds = ((row == colour).all(-1) for colour in (FOE, GOLD))
    row[foes], row[golds] = GOLD, FOE


def erase(frame: np.ndarray) -> None:
    """Take a row's thing away."""
    row = frame[row_of(frame)]
    row[(row != PLAYER).any(-1)] = EMPTY


def double(frame: np.ndarray) -> None:
    """Draw a second player."""
    empty = np.argwhere((frame[1:9] == EMPTY).all(-1))
    frame[1 + empty[0, 0], empty[0, 1]] = PLAYER


def invent(frame: np.ndarray) -> None:
    """Let an enemy come in the middle of the board."""
    things = read_things(read_cells(frame, palette(4)))
    row = next(row for row in range(1, 9) if row not in things)
    frame[row, 4:6] = TRAIL, FOE


FAULTS: dict[str, Callable[[np.ndarray], None]] = {
    f.__name__: f for f in (shift, change, erase, double, invent)
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_illegal_and_forgotten_when_it_is_over(fault: str, episode: Episode) -> None:
    at = next(
        i
        for i in range(60, 200)
        if read_things(read_cells(episode.frames[i], palette(4)))
        and any(
            t.column in (4, 5)
            for t in read_things(read_cells(episode.frames[i], palette(4))).values()
        )
    )
    FAULTS[fault](episode.frames[at])
    illegal = np.flatnonzero(~judge(episode).legal)
    assert illegal[0] == at - 1 and set(illegal) <= {at - 1, at}


def test_cells_are_read_with_the_direction_that_they_came_from() -> None:
    cells = np.zeros((10, 10), np.int8)
    for row, column, trail in (
        (1, 0, None),
        (2, 0, 1),
        (3, 9, None),
        (4, 9, 8),
        (5, 4, 3),
        (6, 4, 5),
    ):
        cells[row, column] = ENEMY
        if trail is not None:
            cells[row, trail] = 3
    assert [thing.direction for thing in read_things(cells).values()] == [1, -1, -1, 1, 1, -1]
