"""Freeway: a player that reads pixels, and a judge that the real game never fails."""

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
from dfgym.games.freeway import COLUMN, GAME, FreewayPolicy, RuleBook, read_cars
from dfgym.games.minatar import MinAtarEnv, env_id, palette, read_cells
from dfgym.games.rules import judge_by
from toys.judging import check_rewards_and_ends, play_real

judge_episode = judge_by(RuleBook)

EMPTY, CHICKEN, CAR, *TRAILS = palette(7)


play = functools.partial(play_real, "freeway")


def judge(episode: Episode) -> Verdicts:
    return judge_episode(episode.frames, episode.actions, episode.rewards, episode.terminated)


@pytest.fixture(scope="module")
def long() -> Episode:
    """A real episode with several crossings."""
    return play(FreewayPolicy(), 1, 400)


@pytest.fixture
def episode(long: Episode) -> Episode:
    """The same, to be spoilt."""
    return dataclasses.replace(long, frames=long.frames.copy())


def test_it_is_known_by_its_id() -> None:
    assert games.find(env_id("freeway")) is GAME
    assert games.find(env_id("freeway"), (40, 40)) is None


# --- the player


def test_it_crosses_where_chance_does_not(long: Episode) -> None:
    assert long.rewards.sum() >= 6
    assert play(RandomPolicy(3, 0), 1).rewards.sum() == 0


def test_without_sticky_actions_no_car_ever_hits_it() -> None:
    env, policy = MinAtarEnv("freeway", 0.0), FreewayPolicy()
    frame, _ = env.reset(seed=3)
    crossings = 0
    for _ in range(300):
        row = env.game.pos
        frame, reward, *_ = env.step(policy(frame))
        crossings += int(reward)
        assert reward or env.game.pos <= row  # it never goes back
    assert crossings >= 6


def test_error_and_dawdling_cost_it_crossings(long: Episode) -> None:
    for policy in (FreewayPolicy(0.5, 1), FreewayPolicy(0, 1, dawdle=0.7)):
        assert play(policy, 1, 400).rewards.sum() < 0.8 * long.rewards.sum()


def test_cell_size_does_not_matter_and_the_seed_decides(long: Episode) -> None:
    small, large, other = (FreewayPolicy(0.2, seed, 0.5) for seed in (1, 1, 2))
    frames = long.frames[:200]
    actions = [small(frame) for frame in frames]
    assert actions == [large(frame.repeat(4, 0).repeat(4, 1)) for frame in frames]
    assert actions != [other(frame) for frame in frames]


def test_a_plan_begins_with_what_a_call_would_choose(long: Episode) -> None:
    for caller, planner in ((FreewayPolicy(0, 3), FreewayPolicy(0, 3)),):
        assert all(planner.plan(frame[None], 5)[0] == caller(frame) for frame in long.frames[:150])
    caller, planner = FreewayPolicy(0.2, 3, 0.5), FreewayPolicy(0.2, 3, 0.5)
    assert all(planner.plan(frame[None], 1) == [caller(frame)] for frame in long.frames[:150])


def test_planned_play_still_crosses() -> None:
    env, policy, total = MinAtarEnv("freeway", 0.0), FreewayPolicy(), 0.0
    observed = [env.reset(seed=0)[0]]
    for _ in range(75):
        plan, observed = policy.plan(np.stack(observed), 4), []
        for action in plan:
            frame, reward, *_ = env.step(action)
            observed.append(frame)
            total += reward
    assert total >= 4


def test_no_picture_makes_it_fail() -> None:
    chance, policy = np.random.default_rng(0), FreewayPolicy()
    for _ in range(100):
        picture = palette(7)[chance.integers(8, size=(10, 10))]
        assert set(policy.plan(picture[None], 6)) <= {0, 1, 2}


# --- the judge

POLICIES: dict[str, Callable[[], Policy]] = {
    "scripted": lambda: FreewayPolicy(0.0, 1),
    "scripted, 20 % random": lambda: FreewayPolicy(0.2, 2),
    "dawdling": lambda: FreewayPolicy(0.0, 3, dawdle=0.8),
    "random": lambda: RandomPolicy(3, 4),
}


@pytest.mark.parametrize("name", POLICIES)
def test_real_game_is_never_illegal(name: str) -> None:
    policy, stuck = POLICIES[name](), 0
    for seed in range(100, 104):
        verdicts = judge(play(policy, seed))
        assert verdicts.legal.all() and not verdicts.wrong.any()
        assert verdicts.hidden.max() <= 9  # a start is known, so the frames leave little doubt
        stuck += int(verdicts.sticky.sum())
    assert 5 < stuck < 60


def test_an_episode_may_be_cut_anywhere(long: Episode) -> None:
    for at in (3, 14, 61):
        verdicts = judge_episode(
            long.frames[at:], long.actions[at:], long.rewards[at:], long.terminated[at:]
        )
        assert verdicts.legal.all() and not verdicts.wrong.any()


def test_the_game_ends_when_its_time_is_over() -> None:
    whole = play(RandomPolicy(3, 0), 0, 2600)
    verdicts = judge(whole)
    assert len(whole.actions) == 2501 and whole.terminated[-1]
    assert verdicts.legal.all() and not verdicts.wrong.any()


def test_reward_and_termination_are_checked(episode: Episode) -> None:
    check_rewards_and_ends(judge_episode, episode)


def crossing(episode: Episode) -> int:
    """Return the frame that follows the second crossing."""
    return int(np.flatnonzero(episode.rewards)[1]) + 1


def shift(frame: np.ndarray) -> None:
    """Move a row's car and trail by a column."""
    frame[5] = np.roll(frame[5], 1, 0)


def swap(frame: np.ndarray) -> None:
    """Give a row's car another speed."""
    trail = (frame[5] != EMPTY).any(-1) & (frame[5] != CAR).any(-1)
    frame[5, trail] = TRAILS[1] if (frame[5, trail] == TRAILS[0]).all() else TRAILS[0]


def erase(frame: np.ndarray) -> None:
    """Take a row's car away."""
    frame[5] = EMPTY


def double(frame: np.ndarray) -> None:
    """Draw a second car."""
    frame[5, (int((frame[5] == CAR).all(-1).argmax()) + 5) % 10] = CAR


def teleport(frame: np.ndarray) -> None:
    """Draw a second chicken."""
    frame[9, COLUMN] = frame[2, COLUMN] = CHICKEN


FAULTS: dict[str, Callable[[np.ndarray], None]] = {
    f.__name__: f for f in (shift, swap, erase, double, teleport)
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoilt_frame_is_illegal_and_the_game_goes_on(episode: Episode, fault: str) -> None:
    at = crossing(episode) + 15
    FAULTS[fault](episode.frames[at])
    verdicts = judge(episode)
    assert not verdicts.legal[at - 1] and verdicts.legal[: at - 1].all()
    assert verdicts.legal[at + 12 :].all()


def test_any_speeds_are_lawful_after_a_crossing_but_every_car_has_one(episode: Episode) -> None:
    at = crossing(episode)
    short = {"frames": episode.frames[: at + 1].copy()}
    play = (episode.actions[:at], episode.rewards[:at], episode.terminated[:at])
    swap(short["frames"][at])
    assert judge_episode(short["frames"], *play).legal.all()
    for fault in (shift, erase, double):
        frames = short["frames"].copy()
        fault(frames[at])
        assert judge_episode(frames, *play).legal.tolist() == [True] * (at - 1) + [False]


def test_cars_are_read_with_their_speeds_and_directions() -> None:
    env = MinAtarEnv("freeway")
    frame, _ = env.reset(seed=0)
    cars = read_cars(read_cells(frame, palette(7)))
    assert {row: (c.column, c.speed * c.direction) for row, c in cars.items()} == {
        row: (column, speed) for column, row, _, speed in env.game.cars
    }


def test_another_games_frames_are_illegal() -> None:
    env = MinAtarEnv("breakout")
    frames = np.stack([env.reset(seed=0)[0], *(env.step(0)[0] for _ in range(4))])
    assert not judge_episode(frames, *np.zeros((3, 4))).legal.any()
