"""CartPole's reading, policy and judge, held against the real game."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("pygame")

from dfgym.errors import ConfigError
from dfgym.games import Drawings
from dfgym.games.cartpole import CartPolePolicy, compare, obeys, read
from dfgym.games.source import Opening, Source, open_source

WHITE = np.full((1, 64, 64, 3), 255, np.uint8)


@pytest.fixture(scope="module")
def real() -> Iterator[Source]:
    source = open_source(Opening("CartPole-v1", size=(64, 64)))
    source.env.reset(seed=0)
    yield source
    source.env.close()


def picture(source: Source, x: float, angle: float) -> np.ndarray:
    game: Any = source.env.unwrapped
    game.state = np.array([x, 0.0, angle, 0.0])
    return source.frame(None)


def play(
    source: Source, steps: int, seed: int, epsilon: float, dawdle: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Play one real episode; returns its frames and the true (position, angle) in each."""
    policy = CartPolePolicy(epsilon, seed, dawdle)
    frames = [source.frame(source.env.reset(seed=seed)[0])]
    game: Any = source.env.unwrapped
    places = [game.state[[0, 2]]]
    for _ in range(steps):
        observation, _, terminated, _, _ = source.env.step(policy(frames[-1]))
        frames.append(source.frame(observation))
        places.append(game.state[[0, 2]])
        if terminated:
            break
    return np.stack(frames), np.stack(places)


@pytest.fixture(scope="module")
def episode(real: Source) -> tuple[np.ndarray, Drawings]:
    frames, _ = play(real, 60, 1, 0.1)
    return frames, compare(frames)


# Reading


@settings(max_examples=80, deadline=None)
@given(x=st.floats(-2.3, 2.3), angle=st.floats(-0.3, 0.3))
def test_the_state_is_read_off_a_frame(real: Source, x: float, angle: float) -> None:
    assume(abs(x + math.sin(angle)) < 2.3)  # beyond, the picture's edge cuts the pole off
    reading = read(picture(real, x, angle))
    assert reading is not None
    assert abs(reading[0] - x) < 0.02 and abs(reading[1] - angle) < 0.04


@pytest.mark.parametrize("size", [(40, 60), (48, 96), (128, 128), (200, 300)])
def test_frames_of_other_sizes_are_read(size: tuple[int, int]) -> None:
    source = open_source(Opening("CartPole-v1", size=size))
    source.env.reset(seed=0)
    for x, angle in ((0.0, 0.0), (1.3, 0.1), (-2.0, -0.2)):
        reading = read(picture(source, x, angle))
        assert reading is not None
        assert abs(reading[0] - x) < 0.03 and abs(reading[1] - angle) < 0.05
    source.env.close()


def test_no_pole_is_read_where_there_is_none(real: Source) -> None:
    assert read(WHITE[0]) is None and read(0 * WHITE[0]) is None
    assert read(picture(real, 9.0, 0.0)) is None


# The policy


def test_the_policy_balances_and_chance_does_not(real: Source) -> None:
    assert len(play(real, 500, 3, 0.0)[1]) == 501
    assert np.mean([len(play(real, 500, seed, 1.0)[1]) for seed in range(5)]) < 60


def test_the_policy_wanders_with_dawdle(real: Source) -> None:
    still, far = (play(real, 250, 5, 0.0, dawdle)[1] for dawdle in (0.0, 1.0))
    assert abs(still[:, 0]).max() < 0.6 < abs(far[:, 0]).max()


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_shares_out_of_range_are_named(share: float) -> None:
    for arguments in ((share,), (0.0, 0, share)):
        with pytest.raises(ValueError, match=r"expected a number in \[0, 1\]"):
            CartPolePolicy(*arguments)


# The judge


@pytest.mark.parametrize(("epsilon", "dawdle"), [(0.0, 0.0), (0.4, 1.0)])
def test_the_real_game_is_like_its_drawing(real: Source, epsilon: float, dawdle: float) -> None:
    frames, places = play(real, 60, 2, epsilon, dawdle)
    drawings = compare(frames)
    assert drawings.error.mean() < 0.8 and drawings.error.max() < 2.5
    assert abs(drawings.sharpness.mean() - 1) < 0.05
    assert (abs(drawings.readings - places).max(0) < (0.02, 0.03)).all()


def test_a_push_to_the_right_is_obeyed_where_the_cart_is_further_right(real: Source) -> None:
    left, right = (np.stack([picture(real, x, 0.0)]) for x in (-0.5, 0.5))
    assert obeys([left, right]).tolist() == [True]
    assert obeys([right, left]).tolist() == obeys([left, WHITE]).tolist() == [False]


def test_blur_costs_sharpness_and_likeness(episode: tuple[np.ndarray, Drawings]) -> None:
    frames, sharp = episode
    means = [(1.0, sharp.error.mean())]
    for blur in (0.5, 1.0, 2.0):
        blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in frames])
        drawings = compare(blurred)
        means.append((drawings.sharpness.mean(), drawings.error.mean()))
    sharpness, error = zip(*means, strict=True)
    assert list(sharpness) == sorted(sharpness, reverse=True) and sharpness[2] < 0.2
    assert list(error) == sorted(error) and error[2] > 5


def test_faint_noise_is_not_taken_for_a_pole(episode: tuple[np.ndarray, Drawings]) -> None:
    frames, clean = episode
    noise = np.random.default_rng(0).normal(0, 3, frames.shape)
    noisy = (frames + noise).round().clip(0, 255).astype(np.uint8)
    drawings = compare(noisy)
    assert abs(drawings.readings[:, 1] - clean.readings[:, 1]).max() < 0.04
    assert 1 < drawings.error.mean() < 4  # about half of it is lost in the white


def test_a_wrong_colour_is_an_error(episode: tuple[np.ndarray, Drawings]) -> None:
    frames, right = episode
    assert (compare(frames[:5] // 2 + 100).error > 20).all() and (right.error < 2.5).all()


def test_a_blank_frame_has_no_pole(episode: tuple[np.ndarray, Drawings]) -> None:
    frames, _ = episode
    drawings = compare(np.stack([frames[9], WHITE[0]]))
    assert np.isnan(drawings.readings[1]).all() and not np.isnan(drawings.readings[0]).any()
    assert drawings.sharpness[1] == 0 and 0 < drawings.error[1] < 30  # the track is missing
    assert compare(0 * WHITE).error[0] > 200


def test_an_empty_track_is_drawn_as_the_game_draws_it(real: Source) -> None:
    drawings = compare(picture(real, 9.0, 0.0)[None])
    assert drawings.error[0] == 0 and drawings.sharpness[0] == 0


@pytest.mark.parametrize("seed", range(4))
def test_no_picture_makes_it_fail(seed: int) -> None:
    chance = np.random.default_rng(seed)
    noise = chance.integers(0, 256, (4, 32, 48, 3), np.uint8)
    # A flat line of the pole's colour leads far off the picture.
    noise[0] = 255
    noise[0, 20, :, 2] = 0
    drawings = compare(noise)
    assert np.isfinite(drawings.error).all() and np.isfinite(drawings.sharpness).all()
    position = drawings.readings[:, 0]
    assert (np.isnan(position) | (abs(position) < 4)).all()


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((2, 8, 8), np.uint8), r"`frames` is uint8 \(2, 8, 8\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"`frames` is uint8 \(0, 8, 8, 3\)"),
        (np.zeros((2, 8, 8, 3)), "`frames` is float64"),
    ],
)
def test_other_arrays_are_refused(frames: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(frames)


def test_a_drawn_game_can_still_be_killed() -> None:
    # SDL takes SIGTERM for itself where nobody handles it, so that `kill` did not end a recording.
    script = """
import os, signal
from dfgym.games.source import Opening, open_source
source = open_source(Opening("CartPole-v1", size=(8, 8)))
source.env.reset(seed=0)
source.frame(None)
os.kill(os.getpid(), signal.SIGTERM)
signal.pause()
"""
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert ended.returncode == -signal.SIGTERM
