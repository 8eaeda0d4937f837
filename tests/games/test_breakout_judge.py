"""The judge of Breakout's rules, on the real game (never wrong) and on spoilt copies of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dfgym.errors import ConfigError
from dfgym.evaluation.rollout import Episode
from dfgym.games import Policy, RandomPolicy, Verdicts
from dfgym.games.breakout import BreakoutPolicy, RuleBook
from dfgym.games.minatar import MinAtarEnv
from dfgym.games.rules import judge_by
from toys.judging import check_play_after_the_end, check_rewards_and_ends

judge_episode = judge_by(RuleBook)

PALETTE = MinAtarEnv().palette
EMPTY, PADDLE, BALL, TRAIL, BRICK = PALETTE


def play(policy: Policy, steps: int, seed: int, max_steps: int = 500) -> list[Episode]:
    """Play the real game; the last episode is cut."""
    env = MinAtarEnv()
    episodes, left = [], steps
    while left > 0:
        observation, _ = env.reset(seed=seed)
        policy.reset()
        frames, played, terminated = [observation], [], False  # type: ignore[var-annotated]
        while not terminated and len(played) < min(max_steps, left):
            action: Any = policy(observation)
            observation, reward, terminated, _, _ = env.step(action)
            frames.append(observation)
            played.append((action, reward, terminated))
        actions, rewards, ends = (np.array(column) for column in zip(*played, strict=True))
        episodes.append(Episode(np.stack(frames), actions, rewards, ends, 0, seed))
        left, seed = left - len(played), seed + 1
    return episodes


def judge(episode: Episode) -> Verdicts:
    return judge_episode(episode.frames, episode.actions, episode.rewards, episode.terminated)


POLICIES: dict[str, Callable[[], Policy]] = {
    "scripted": lambda: BreakoutPolicy(0.0, 1),
    "scripted, 20 % random": lambda: BreakoutPolicy(0.2, 2),
    "random": lambda: RandomPolicy(3, 3),
    "held": lambda: RandomPolicy(3, 4, hold=0.8),  # the paddle visits the walls
}


@pytest.mark.parametrize("name", POLICIES)
def test_real_game_is_never_illegal(name: str) -> None:
    """4 x 5,000 transitions: every one legal, with its own reward and termination."""
    verdicts = [judge(episode) for episode in play(POLICIES[name](), 5000, seed=100)]
    assert sum(len(v.legal) for v in verdicts) == 5000
    assert all(v.legal.all() for v in verdicts)
    assert not any(v.wrong.any() for v in verdicts)
    assert max(v.hidden.max() for v in verdicts) <= 3  # the frames leave next to no doubt
    assert 0.005 < np.concatenate([v.sticky for v in verdicts]).mean() < 0.1


def test_visible_sticky_outcomes_are_those_that_happened() -> None:
    """Against what the game itself says it carried out."""
    env, random = MinAtarEnv(), np.random.default_rng(0)
    visible = real = 0
    for seed in range(60):
        frames, played, stuck, over = [env.reset(seed=seed)[0]], [], [], False
        while not over:
            action, paddle = int(random.integers(3)), env.game.pos
            frame, reward, over, _, _ = env.step(action)
            obeyed = np.clip(paddle + (0, -1, 1)[action], 0, 9)
            frames.append(frame)
            played.append((action, reward, over))
            stuck.append(env.game.pos != obeyed)
        actions, rewards, ends = (np.array(column) for column in zip(*played, strict=True))
        verdicts = judge_episode(np.stack(frames), actions, rewards, ends)
        # At a paddle bounce the repeated action can also change the ball; else only the paddle.
        assert (verdicts.sticky >= np.array(stuck)).all()
        visible, real = visible + verdicts.sticky.sum(), real + sum(stuck)
    assert real > 20 and visible <= 1.1 * real


@pytest.fixture
def episode() -> Episode:
    """One long real episode."""
    return max(play(POLICIES["scripted"](), 2000, seed=7), key=len)


def middle(episode: Episode, colours: tuple[np.ndarray, ...] = (PADDLE, BALL, TRAIL)) -> int:
    """Find a frame well inside the episode that shows these colours."""
    for index in range(60, len(episode.frames) - 30):
        frame = episode.frames[index]
        if all((frame == colour).all(-1).any() for colour in colours):
            return index
    raise AssertionError("no such frame")


def swap(frame: np.ndarray, old: np.ndarray, new: np.ndarray, cell: tuple[int, int] | None) -> None:
    """Take the first cell of one colour away, and draw it at `cell` (if any)."""
    y, x = np.argwhere((frame == old).all(-1))[0]
    frame[y, x] = new
    if cell is not None:
        frame[cell] = old


SPOIL: dict[str, Callable[[np.ndarray], None]] = {
    "ball gone": lambda f: swap(f, BALL, EMPTY, None),
    "ball elsewhere": lambda f: swap(f, BALL, EMPTY, (6, int(f[6, 5].sum() == 0) * 5)),
    "trail gone": lambda f: swap(f, TRAIL, EMPTY, None),
    "second ball": lambda f: f.__setitem__((0, 0) if (f[0, 0] == 0).all() else (0, 9), BALL),
    "no paddle": lambda f: swap(f, PADDLE, EMPTY, None),
    "second paddle": lambda f: f.__setitem__((9, int((f[9, 0] == PADDLE).all()) * 9), PADDLE),
    "brick in the air": lambda f: f.__setitem__((6, int(f[6, 0].sum() > 0)), BRICK),
    "brick added or gone": lambda f: f.__setitem__((1, 4), EMPTY if f[1, 4].any() else BRICK),
    "foreign colour": lambda f: f.__setitem__((0, 5), (1, 2, 3)),
    "one shade off": lambda f: f.__setitem__((0, 5), (0, 0, 1)),
}


@pytest.mark.parametrize("fault", SPOIL)
def test_spoilt_frame_is_illegal_and_the_game_goes_on(episode: Episode, fault: str) -> None:
    at = middle(episode)
    SPOIL[fault](episode.frames[at])
    verdicts = judge(episode)
    assert not verdicts.legal[at - 1]
    assert verdicts.legal[: at - 1].all()
    assert 1 <= (~verdicts.legal).sum() <= 3  # into it, out of it, and once more for what it hid
    assert verdicts.legal[at + 3 :].all()


def test_frozen_picture_is_illegal(episode: Episode) -> None:
    at = middle(episode)
    episode.frames[at:] = episode.frames[at - 1]
    verdicts = judge(episode)
    assert not verdicts.legal[at - 1 :].any()


def test_paddle_that_does_not_obey_is_illegal() -> None:
    """Left was commanded, no-op went before, and the paddle went right."""
    env = MinAtarEnv(sticky_action_prob=0.0)
    first, right = env.reset(seed=0)[0], env.step(2)[0]
    frames = np.stack([first, right])
    zero = (np.zeros(1), np.zeros(1, bool))
    assert judge_episode(frames, np.array([2]), *zero).legal.tolist() == [True]
    assert judge_episode(frames, np.array([1]), *zero).legal.tolist() == [False]
    env.reset(seed=0)
    still = np.stack([first, env.step(0)[0]])
    verdicts = judge_episode(still, np.array([1]), *zero)  # the no-op before the start, repeated
    assert verdicts.legal.tolist() == verdicts.sticky.tolist() == [True]


def test_direction_is_held_to(episode: Episode) -> None:
    """A ball that turns around in the air is illegal, though each frame alone could be drawn."""
    for at in range(60, len(episode.frames) - 1):
        before, now, after = episode.frames[at - 1 : at + 2]
        trail, ball = (np.argwhere((now == colour).all(-1)) for colour in (TRAIL, BALL))
        if len(trail) and len(ball) and 4 < ball[0, 0] < 7 and 0 < ball[0, 1] < 9:
            after[...] = before
            for colour in (BALL, TRAIL):
                after[(after == colour).all(-1)] = EMPTY
            after[tuple(trail[0])], after[tuple(ball[0])] = BALL, TRAIL
            assert not judge(episode).legal[at]
            return
    raise AssertionError("no free flight")


def test_reward_and_termination_are_checked(episode: Episode) -> None:
    check_rewards_and_ends(judge_episode, episode)


def test_a_game_that_plays_on_after_its_end_is_wrong_and_then_illegal() -> None:
    short = play(POLICIES["random"](), 200, seed=3)[0]
    check_play_after_the_end(judge_episode, short)


def test_ignored_actions_are_illegal_or_an_excess_of_sticky_ones(episode: Episode) -> None:
    others = (episode.actions + 1) % 3
    verdicts = judge_episode(episode.frames, others, episode.rewards, episode.terminated)
    assert (~verdicts.legal).mean() > 0.1
    assert (verdicts.sticky | ~verdicts.legal).mean() > 0.8


def test_may_begin_anywhere(episode: Episode) -> None:
    for at in (1, 2, 50, 100):
        verdicts = judge_episode(
            episode.frames[at:],
            episode.actions[at:],
            episode.rewards[at:],
            episode.terminated[at:],
        )
        assert verdicts.legal.all() and not verdicts.wrong.any()


def test_wrong_shapes_are_refused(episode: Episode) -> None:
    with pytest.raises(ConfigError, match="10, 10, 3"):
        judge_episode(np.zeros((2, 40, 40, 3), np.uint8), *np.zeros((3, 1)))
    with pytest.raises(ConfigError, match="lengths"):
        judge_episode(episode.frames, *np.zeros((3, 1)))


@pytest.mark.parametrize("game", ["space_invaders", "asterix"])
def test_another_games_frames_are_illegal(game: str) -> None:
    env = MinAtarEnv(game)
    frames = np.stack([env.reset(seed=0)[0], *(env.step(0)[0] for _ in range(4))])
    assert not judge_episode(frames, *np.zeros((3, 4))).legal.any()


def test_needs_no_torch() -> None:
    """Training experiments and bare servers import it."""
    code = "import dfgym.games.breakout, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
