"""Space Invaders: a player that reads pixels, and a judge that the real game never fails."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("minatar")

from dfgym import games
from dfgym.evaluation.rollout import Episode
from dfgym.games import Policy, RandomPolicy, Verdicts
from dfgym.games.minatar import MinAtarEnv, env_id, palette
from dfgym.games.rules import judge_by
from dfgym.games.space_invaders import GAME, RuleBook, SpaceInvadersPolicy
from toys.judging import check_play_after_the_end, check_rewards_and_ends, play_real

judge_episode = judge_by(RuleBook)

GAME_ID = env_id("space_invaders")
EMPTY, CANNON, _, LEFT_ALIEN, RIGHT_ALIEN, SHOT, BOMB = palette(6)


play = functools.partial(play_real, "space_invaders", steps=400)


def judge(episode: Episode) -> Verdicts:
    return judge_episode(episode.frames, episode.actions, episode.rewards, episode.terminated)


def test_it_is_known_by_its_id() -> None:
    assert games.find(GAME_ID) is GAME
    assert games.find(GAME_ID, kwargs={"sticky_action_prob": 0.0, "render_mode": None}) is GAME
    assert games.find(GAME_ID, kwargs={"game": "space_invaders"}) is GAME  # what it is anyway
    assert games.find(GAME_ID, kwargs={"game": "breakout"}) is None
    breakout = GAME_ID.replace("SpaceInvaders", "Breakout")
    assert games.find(breakout, kwargs={"game": "space_invaders"}) is None
    assert games.find(GAME_ID, (40, 40)) is None


# --- the player


def test_it_plays_far_better_than_chance() -> None:
    scripted, chance = SpaceInvadersPolicy(), RandomPolicy(4, 0)
    skilled = np.mean([play(scripted, seed).rewards.sum() for seed in range(10)])
    lucky = np.mean([play(chance, seed).rewards.sum() for seed in range(30)])
    assert lucky < 8
    assert skilled > 5 * lucky


def test_epsilon_one_is_chance_and_dawdling_costs_it_kills() -> None:
    weak, idle = SpaceInvadersPolicy(1.0, seed=1), SpaceInvadersPolicy(0, seed=1, dawdle=0.7)
    assert np.mean([play(weak, seed).rewards.sum() for seed in range(20)]) < 10
    dawdled = np.mean([play(idle, seed).rewards.sum() for seed in range(10)])
    assert (
        1
        < dawdled
        < 0.7 * np.mean([play(SpaceInvadersPolicy(), s).rewards.sum() for s in range(10)])
    )


def test_cell_size_does_not_matter_and_the_seed_decides() -> None:
    frames = play(RandomPolicy(4, 1), 3).frames
    small, large, other = (SpaceInvadersPolicy(0.2, seed, 0.5) for seed in (1, 1, 2))
    actions = [small(frame) for frame in frames]
    assert actions == [large(frame.repeat(4, 0).repeat(4, 1)) for frame in frames]
    assert actions != [other(frame) for frame in frames]


def test_a_plan_begins_with_what_a_call_would_choose() -> None:
    frames = play(RandomPolicy(4, 1), 5).frames
    caller, planner = SpaceInvadersPolicy(0, 3), SpaceInvadersPolicy(0, 3)
    assert all(planner.plan(frame[None], 5)[0] == caller(frame) for frame in frames)
    caller, planner = SpaceInvadersPolicy(0.2, 3, 0.5), SpaceInvadersPolicy(0.2, 3, 0.5)
    assert all(planner.plan(frame[None], 1) == [caller(frame)] for frame in frames)


def test_planned_play_is_still_far_better_than_chance() -> None:
    env, policy, total = MinAtarEnv("space_invaders", 0.0), SpaceInvadersPolicy(), 0.0
    observed, over = [env.reset(seed=0)[0]], False
    for _ in range(50):
        plan = policy.plan(np.stack(observed), 4)
        assert len(plan) == 4
        observed = []
        for action in plan:
            frame, reward, over, _, _ = env.step(action)
            observed.append(frame)
            total += reward
        if over:
            break
    assert total > 20


def test_an_empty_plan_is_refused() -> None:
    frame = np.zeros((1, 10, 10, 3), np.uint8)
    for frames, count in ((frame[:0], 1), (frame, 0)):
        with pytest.raises(ValueError, match="expected 1 or more of each"):
            SpaceInvadersPolicy().plan(frames, count)


def test_no_picture_makes_it_fail() -> None:
    chance, policy = np.random.default_rng(0), SpaceInvadersPolicy()
    for _ in range(200):
        picture = palette(6)[chance.integers(7, size=(10, 10))]
        assert set(policy.plan(picture[None], 6)) <= {0, 1, 2, 3}


# --- the judge

POLICIES: dict[str, Callable[[], Policy]] = {
    "scripted": lambda: SpaceInvadersPolicy(0.0, 1),
    "scripted, 20 % random": lambda: SpaceInvadersPolicy(0.2, 2),
    "dawdling": lambda: SpaceInvadersPolicy(0.0, 3, dawdle=0.8),  # aliens come down
    "random": lambda: RandomPolicy(4, 4),
}


@pytest.mark.parametrize("name", POLICIES)
def test_real_game_is_never_illegal(name: str) -> None:
    policy, count, sticky = POLICIES[name](), 0, 0
    for seed in range(100, 130):
        episode = play(policy, seed)
        verdicts = judge(episode)
        assert verdicts.legal.all() and not verdicts.wrong.any()
        assert verdicts.hidden.max() <= 4  # a start is known, so the frames leave little doubt
        count, sticky = count + len(verdicts.legal), sticky + int(verdicts.sticky.sum())
        if count > 1500:
            break
    assert count > 1000
    assert 0.01 < sticky / count < 0.1


def test_sticky_actions_are_those_that_moved_the_cannon_otherwise() -> None:
    env, random = MinAtarEnv("space_invaders", 0.3), np.random.default_rng(0)
    real = 0
    for seed in range(10):
        frames, played, stuck, over = [env.reset(seed=seed)[0]], [], [], False
        while not over:
            action, cannon = int(random.integers(4)), env.game.pos
            frame, reward, over, _, _ = env.step(action)
            frames.append(frame)
            played.append((action, reward, over))
            stuck.append(env.game.pos != np.clip(cannon + (0, -1, 1, 0)[action], 0, 9))
        actions, rewards, ends = (np.array(column) for column in zip(*played, strict=True))
        verdicts = judge_episode(np.stack(frames), actions, rewards, ends)
        assert verdicts.legal.all()
        assert (verdicts.sticky >= np.array(stuck)).all()
        real += sum(stuck)
    assert real > 50


@pytest.fixture
def episode() -> Episode:
    """One long real episode."""
    return play(SpaceInvadersPolicy(), 1, steps=300)


def test_an_episode_may_be_cut_once_its_picture_is_not_the_starts(episode: Episode) -> None:
    for at in (14, 30, 61):
        verdicts = judge_episode(
            episode.frames[at:],
            episode.actions[at:],
            episode.rewards[at:],
            episode.terminated[at:],
        )
        assert verdicts.legal.all() and not verdicts.wrong.any()
        assert verdicts.hidden[-1] <= 14  # waves of every speed, until the timer has shown it


def shows(frame: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return (frame == colour).all(-1)


def aliens(frame: np.ndarray) -> np.ndarray:
    return shows(frame, LEFT_ALIEN) | shows(frame, RIGHT_ALIEN)


def vanish(colour: np.ndarray) -> Callable[[np.ndarray], None]:
    """Return a fault that takes away every cell of a colour."""
    return lambda frame: frame.__setitem__(shows(frame, colour), EMPTY)


def teleport(frame: np.ndarray) -> None:
    """Move the cannon by five columns."""
    column = int(shows(frame, CANNON)[9].argmax())
    frame[9, column], frame[9, (column + 5) % 10] = EMPTY, CANNON


def turn(frame: np.ndarray) -> None:
    """Turn one alien around."""
    y, x = np.argwhere(aliens(frame))[0]
    frame[y, x] = RIGHT_ALIEN if (frame[y, x] == LEFT_ALIEN).all() else LEFT_ALIEN


def add(colour: np.ndarray) -> Callable[[np.ndarray], None]:
    """Return a fault that draws a colour in an empty cell amid the field."""
    return lambda frame: frame.__setitem__((6, int(frame[6].any(-1).argmin())), colour)


FAULTS: dict[str, Callable[[np.ndarray], None]] = {
    "no cannon": vanish(CANNON),
    "cannon elsewhere": teleport,
    "shots gone": vanish(SHOT),
    "bomb gone": vanish(BOMB),
    "one alien turned": turn,
    "an alien more": add(LEFT_ALIEN),
    "a bomb more": add(BOMB),
    "a shot more": add(SHOT),
    "foreign colour": add(np.array([0, 0, 1], np.uint8)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoilt_frame_is_illegal_and_the_game_goes_on(episode: Episode, fault: str) -> None:
    for at in range(60, len(episode.frames) - 20):
        before, frame = episode.frames[at - 1 : at + 1]
        # Both kinds of bullet are amid their flight, above no alien.
        flying = all(shows(frame, colour)[4:8].any() for colour in (SHOT, BOMB))
        if flying and shows(before, BOMB).any() and not aliens(frame)[3:].any():
            break
    FAULTS[fault](frame)
    verdicts = judge(episode)
    assert not verdicts.legal[at - 1]
    assert verdicts.legal[: at - 1].all()
    assert (~verdicts.legal).sum() <= 3  # into it, out of it, and once more for what it hid
    assert verdicts.legal[at + 12 :].all()


def test_aliens_that_stand_still_when_they_should_move_are_illegal(episode: Episode) -> None:
    moves = [
        at
        for at in range(1, 100)
        if (aliens(episode.frames[at]) & ~aliens(episode.frames[at - 1])).sum() > 3
    ]
    frames = episode.frames[: moves[2] + 1].copy()
    at = moves[2]
    field = slice(0, 6)
    frames[at, field] = frames[at - 1, field]
    verdicts = judge_episode(
        frames, episode.actions[:at], episode.rewards[:at], episode.terminated[:at]
    )
    assert verdicts.legal[:-1].all() and not verdicts.legal[-1]


def test_a_still_picture_is_legal_until_the_aliens_should_move() -> None:
    frame, _ = MinAtarEnv("space_invaders").reset(seed=0)
    noops, zeros, ends = np.zeros(20, int), np.zeros(20), np.zeros(20, bool)
    verdicts = judge_episode(np.stack([frame] * 21), noops, zeros, ends)
    assert verdicts.legal[:10].all() and not verdicts.legal[10]  # the first bomb is due


def test_a_shot_before_the_cannon_is_loaded_is_illegal() -> None:
    env = MinAtarEnv("space_invaders", 0.0)
    frames = [env.reset(seed=0)[0], *(env.step(3)[0] for _ in range(4))]
    fire, zeros, ends = np.full(4, 3), np.zeros(4), np.zeros(4, bool)
    assert judge_episode(np.stack(frames), fire, zeros, ends).legal.all()
    frames[3][8, 5] = SHOT
    verdicts = judge_episode(np.stack(frames), fire, zeros, ends)
    assert verdicts.legal.tolist()[:3] == [True, True, False]


def test_reward_and_termination_are_checked(episode: Episode) -> None:
    check_rewards_and_ends(judge_episode, episode)


def test_a_game_that_plays_on_after_its_end_is_wrong_and_then_illegal() -> None:
    short = play(RandomPolicy(4, 3), 0, steps=2000)
    check_play_after_the_end(judge_episode, short)


def test_another_games_frames_are_illegal() -> None:
    env = MinAtarEnv("breakout")
    frames = np.stack([env.reset(seed=0)[0], *(env.step(0)[0] for _ in range(4))])
    assert not judge_episode(frames, *np.zeros((3, 4))).legal.any()
