"""CartPole's eye, player and referee, held against the real game."""

import math
import signal
import subprocess
import sys
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("pygame")

from dfgym.errors import ConfigError
from dfgym.games import breakout as scripted
from dfgym.games.cartpole import CartPolePolicy, look
from dfgym.games.cartpole_judge import Verdicts, judge_episode, judge_pictures
from dfgym.games.source import Source, open_source

WHITE = np.full((1, 64, 64, 3), 255, np.uint8)


@pytest.fixture(scope="module")
def real() -> Iterator[Source]:
    source = open_source("CartPole-v1", size=(64, 64))
    source.env.reset(seed=0)
    yield source
    source.env.close()


def picture(source: Source, x: float, angle: float) -> np.ndarray:
    source.env.unwrapped.state = np.array([x, 0.0, angle, 0.0])
    return source.frame(None)


def play(source: Source, steps: int, seed: int, epsilon: float, dawdle: float = 0.0):
    """Frames, actions and true (position, angle) of one real episode."""
    policy = CartPolePolicy(epsilon, seed, dawdle)
    frames, actions, places = [source.frame(source.env.reset(seed=seed)[0])], [], []
    game = source.env.unwrapped
    places.append(game.state[[0, 2]])
    for _ in range(steps):
        actions.append(policy(frames[-1]))
        observation, _, terminated, _, _ = source.env.step(actions[-1])
        frames.append(source.frame(observation))
        places.append(game.state[[0, 2]])
        if terminated:
            break
    return np.stack(frames), np.array(actions), np.stack(places)


@pytest.fixture(scope="module")
def episode(real: Source) -> tuple[np.ndarray, np.ndarray, Verdicts]:
    frames, actions, _ = play(real, 60, 1, 0.1)
    return frames, actions, judge_episode(frames, actions)


# The eye


@settings(max_examples=80, deadline=None)
@given(x=st.floats(-2.3, 2.3), angle=st.floats(-0.3, 0.3))
def test_the_eye_reads_the_state(real: Source, x: float, angle: float):
    assume(abs(x + math.sin(angle)) < 2.3)  # beyond, the picture's edge cuts the pole off
    seen = look(picture(real, x, angle))
    assert seen is not None
    assert abs(seen[0] - x) < 0.02 and abs(seen[1] - angle) < 0.04


@pytest.mark.parametrize("size", [(40, 60), (48, 96), (128, 128), (200, 300)])
def test_the_eye_reads_pictures_of_other_sizes(size: tuple[int, int]):
    source = open_source("CartPole-v1", size=size)
    source.env.reset(seed=0)
    for x, angle in ((0.0, 0.0), (1.3, 0.1), (-2.0, -0.2)):
        seen = look(picture(source, x, angle))
        assert seen is not None
        assert abs(seen[0] - x) < 0.03 and abs(seen[1] - angle) < 0.05
    source.env.close()


def test_the_eye_sees_no_pole_where_there_is_none(real: Source):
    assert look(WHITE[0]) is None and look(0 * WHITE[0]) is None
    assert look(picture(real, 9.0, 0.0)) is None


# The player


def test_the_player_balances_and_chance_does_not(real: Source):
    assert len(play(real, 500, 3, 0.0)[1]) == 500
    assert np.mean([len(play(real, 500, seed, 1.0)[1]) for seed in range(5)]) < 60


def test_the_player_wanders_if_told_to(real: Source):
    still, far = (play(real, 250, 5, 0.0, dawdle)[2] for dawdle in (0.0, 1.0))
    assert abs(still[:, 0]).max() < 0.6 < abs(far[:, 0]).max()


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_shares_out_of_range_are_named(share: float):
    for arguments in ((share,), (0.0, 0, share)):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            scripted.make("DFWorld/cartpole-pixels-v0", *arguments)


# The referee


@pytest.mark.parametrize(("epsilon", "dawdle"), [(0.0, 0.0), (0.4, 1.0)])
def test_the_real_game_is_found_right(real: Source, epsilon: float, dawdle: float):
    frames, actions, places = play(real, 60, 2, epsilon, dawdle)
    found = judge_episode(frames, actions)
    assert found.drawn.mean() < 0.8 and found.drawn.max() < 2.5
    assert np.isnan(found.motion[0]) and not np.isnan(found.motion[1:]).any()
    assert found.motion[1:].mean() < 0.02 and found.motion[1:].max() < 0.06
    assert abs(found.sharpness.mean() - 1) < 0.05
    assert abs(found.position - places[:, 0]).max() < 0.02
    assert abs(found.angle - places[:, 1]).max() < 0.03


def test_motion_of_true_places_is_none(real: Source):
    """The equations are the game's own: what is left in real episodes are errors of the eye."""
    from dfgym.games.cartpole_judge import _motion

    _, actions, places = play(real, 60, 4, 0.4, 1.0)
    assert np.nanmax(_motion(places, actions)) < 1e-9
    assert np.nanmean(_motion(places, 1 - actions)) > 0.01


def test_blur_costs_sharpness_and_likeness(episode):
    frames, actions, sharp = episode
    means = [(1.0, sharp.drawn.mean())]
    for blur in (0.5, 1.0, 2.0):
        blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in frames])
        found = judge_episode(blurred, actions)
        means.append((found.sharpness.mean(), found.drawn.mean()))
    sharpness, drawn = zip(*means, strict=True)
    assert list(sharpness) == sorted(sharpness, reverse=True) and sharpness[2] < 0.2
    assert list(drawn) == sorted(drawn) and drawn[2] > 5


def test_faint_noise_is_not_taken_for_a_pole(episode):
    frames, actions, clean = episode
    noise = np.random.default_rng(0).normal(0, 3, frames.shape)
    noisy = (frames + noise).round().clip(0, 255).astype(np.uint8)
    found = judge_episode(noisy, actions)
    assert abs(found.angle - clean.angle).max() < 0.04
    assert 1 < found.drawn.mean() < 4  # about half of it is lost in the white


def test_a_pole_that_jumps_breaks_the_motion(episode):
    frames, actions, right = episode
    wrong = frames.copy()
    wrong[30] = np.roll(wrong[30], 2, axis=1)  # 2 of 64 columns are 0.15 units
    found = judge_episode(wrong, actions)
    assert found.motion[29] == pytest.approx(0.15, abs=0.03)
    assert found.motion[30] == pytest.approx(0.30, abs=0.06)  # its speed was wrong, too
    elsewhere = np.r_[1:29, 32 : len(actions)]
    assert np.array_equal(found.motion[elsewhere], right.motion[elsewhere])


def test_a_colour_that_is_wrong_is_seen(episode):
    frames, _, right = episode
    found = judge_pictures(frames[:5] // 2 + 100)
    assert (found.drawn > 20).all() and (right.drawn < 2.5).all()


def test_a_blank_frame_is_no_pole(episode):
    frames, actions, _ = episode
    frames = frames.copy()
    frames[10] = WHITE[0]
    found = judge_episode(frames, actions)
    assert np.isnan(found.position[10]) and np.isnan(found.angle[10])
    assert found.sharpness[10] == 0 and 0 < found.drawn[10] < 30  # the track is missing
    assert np.flatnonzero(np.isnan(found.motion)).tolist() == [0, 9, 10, 11]
    assert judge_pictures(0 * WHITE).drawn[0] > 200


def test_an_empty_track_is_drawn_as_the_game_draws_it(real: Source):
    found = judge_pictures(picture(real, 9.0, 0.0)[None])
    assert found.drawn[0] == 0 and found.sharpness[0] == 0


@pytest.mark.parametrize("seed", range(4))
def test_no_picture_makes_it_fail(seed: int):
    chance = np.random.default_rng(seed)
    noise = chance.integers(0, 256, (4, 32, 48, 3), np.uint8)
    # A flat line of the pole's colour leads far off the picture.
    noise[0] = 255
    noise[0, 20, :, 2] = 0
    found = judge_episode(noise, np.zeros(3, int))
    assert np.isfinite(found.drawn).all() and np.isfinite(found.sharpness).all()
    assert (np.isnan(found.position) | (abs(found.position) < 4)).all()


def test_one_frame_is_an_episode(real: Source):
    found = judge_episode(picture(real, 0.5, 0.05)[None], np.zeros(0, int))
    assert found.motion.shape == (0,) and found.drawn.shape == (1,)


@pytest.mark.parametrize(
    ("frames", "actions", "message"),
    [
        (np.zeros((3, 8, 8, 3), np.uint8), [0], "1 actions given; 3 frames need one less"),
        (np.zeros((2, 8, 8, 3), np.uint8), [2], r"actions \[2\]; CartPole's are 0"),
        (np.zeros((2, 8, 8), np.uint8), [0], r"frames are uint8 \(2, 8, 8\)"),
        (np.zeros((2, 8, 8, 3)), [0], "frames are float64"),
    ],
)
def test_what_does_not_fit_is_refused(frames, actions, message):
    with pytest.raises(ConfigError, match=message):
        judge_episode(frames, np.array(actions))


def test_a_drawn_game_can_still_be_killed() -> None:
    # SDL takes SIGTERM for itself where nobody handles it, so that `kill` did not end a recording.
    script = """
import os, signal
from dfgym.games.source import open_source
source = open_source("CartPole-v1", size=(8, 8))
source.env.reset(seed=0)
source.frame(None)
os.kill(os.getpid(), signal.SIGTERM)
signal.pause()
"""
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert ended.returncode == -signal.SIGTERM
