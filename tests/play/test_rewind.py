"""Going back in a game: exact frames, exact futures, branches, and settings changed on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfgym.env.env import DreamEnv
from dfgym.errors import ConfigError, StateError
from dfgym.play import messages, replies, timeline
from dfgym.play.session import Session
from dfgym.world.settings import Settings
from toys.play import ACTIONS, MAX_STEPS, frames, play, read_frame


def change(game: Session, steps: int, mode: Any = "clean", noise: float = 0.0) -> None:
    game.apply(messages.ChangeSettings(Settings("cpu", steps, mode, noise)))


# --- Rewind ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0, 1, 5, 15, 16, 17, 33, 39])
def test_rewind_to_an_identical_frame_and_an_identical_future(game: Session, t: int) -> None:
    play(game, ACTIONS)
    before, numbers = frames(game), [m.uncertainty for m in game.timeline.moments]
    game.apply(messages.Seek(t))
    assert game.paused
    header, pictures = read_frame(replies.frame(game, 1, True))
    assert (header["t"], header["length"], header["preview"]) == (t, 40, True)
    assert np.array_equal(pictures[0], before[t])
    play(game, ACTIONS[t:])
    assert np.array_equal(frames(game), before)
    assert [m.uncertainty for m in game.timeline.moments] == numbers
    assert game.timeline.branches == 1
    assert game.timeline.actions == ACTIONS


def test_another_action_is_a_branch(game: Session) -> None:
    play(game, ACTIONS)
    before = frames(game)
    game.apply(messages.Seek(20))
    play(game, [1 - min(action, 1) for action in ACTIONS[20:35]])
    after = frames(game)
    assert len(after) == 36 and np.array_equal(after[:21], before[:21])
    assert not np.array_equal(after[21:], before[21:36])
    header, _ = read_frame(replies.frame(game, 1))
    assert (header["branch"], header["t"], header["length"]) == (1, 35, 35)


def test_looking_back_alone_changes_nothing(game: Session, calm_world: Path) -> None:
    play(game, ACTIONS[:20])
    for t in (3, 17, 0, 20):
        game.apply(messages.Seek(t))
    play(game, ACTIONS[20:])
    assert game.timeline.branches == 0
    other = Session(str(calm_world), Settings(device="cpu"), seed=0)
    play(other, ACTIONS)
    assert np.array_equal(frames(game), frames(other))


def test_the_end_can_be_taken_back(game: Session) -> None:
    play(game, [0] * MAX_STEPS)
    game.apply(messages.Seek(MAX_STEPS - 1))
    ends = [game.timeline.ended]
    game.advance()
    assert [*ends, game.timeline.ended] == [False, True] and game.episode == 1


def test_seeking_beyond_the_timeline_is_refused(game: Session) -> None:
    play(game, ACTIONS[:3])
    for t in (-1, 4):
        with pytest.raises(ConfigError, match=f"t is {t}; the timeline has frames 0 to 3"):
            game.apply(messages.Seek(t))
    assert game.timeline.cursor == 3 and not game.paused


def test_a_dream_that_does_not_repeat_itself_is_an_error(game: Session) -> None:
    play(game, ACTIONS[:10])
    game.timeline.moments[5].frame[0, 0] ^= 255
    game.apply(messages.Seek(5))
    with pytest.raises(StateError, match="does not repeat"):
        game.advance()


def test_the_history_is_bounded(game: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MAX_STEPS", 40)
    play(game, (ACTIONS * 2)[: MAX_STEPS - 1])
    history, before = game.timeline, frames(game)
    assert (history.first, history.length) == (32, 59) and len(history.keyframes) == 2
    assert len(history.actions) == 59
    with pytest.raises(ConfigError, match="frames 32 to 59"):
        game.apply(messages.Seek(31))
    for t in (32, 50):
        game.apply(messages.Seek(t))
        play(game, (ACTIONS * 2)[t:59])
        assert np.array_equal(frames(game), before)


# --- Settings -------------------------------------------------------------------------------------


def test_settings_change_in_mid_episode(game: Session) -> None:
    play(game, ACTIONS[:10])
    before = frames(game)
    change(game, 4, "noised", 0.1)
    assert np.array_equal(frames(game), before)  # the past stays
    play(game, ACTIONS[10:20])
    assert np.array_equal(frames(game)[:11], before)
    env = DreamEnv(
        game.world.path,
        device="cpu",
        denoising_steps=4,
        context_mode="noised",
        context_noise=0.1,
    )
    seed = np.random.SeedSequence([game.film().seed, 10]).generate_state(1)[0]
    options = {"frames": before[-4:], "actions": np.array(ACTIONS[7:10])}
    env.reset(seed=int(seed), options=options)
    for action, moment in zip(ACTIONS[10:20], game.timeline.moments[11:], strict=True):
        assert np.array_equal(env.step(action)[0][::5, ::5], moment.frame)
    score = sum(moment.reward for moment in game.timeline.moments)
    assert game.timeline.current.score == score


@pytest.mark.parametrize("t", [4, 9, 10, 11, 16, 19])
def test_rewind_across_a_change_of_settings(game: Session, t: int) -> None:
    """Under the new settings: exact where they made the frames, and begun anew before."""
    play(game, ACTIONS[:10])
    change(game, 3)
    play(game, ACTIONS[10:20])
    before = frames(game)
    game.apply(messages.Seek(t))
    play(game, ACTIONS[t:20])
    after = frames(game)
    assert np.array_equal(after[: t + 1], before[: t + 1])
    assert np.array_equal(after, before) == (t >= 10)
    assert game.settings.denoising_steps == 3


def test_settings_can_be_compared(game: Session) -> None:
    """The same moment, under one setting and another and the first again."""
    play(game, ACTIONS[:10])
    futures = []
    for steps in (3, 1, 3):
        game.apply(messages.Seek(10))
        change(game, steps)
        play(game, ACTIONS[10:18])
        futures.append(frames(game)[11:])
    assert np.array_equal(futures[0], futures[2])
    assert not np.array_equal(futures[0], futures[1])


def test_few_states_are_kept_however_often_settings_change(
    game: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "MAX_STEPS", 40)
    for t in range(MAX_STEPS - 1):
        change(game, 1 + t % 2)
        play(game, ACTIONS[t % 40 : t % 40 + 1])
    history, before = game.timeline, frames(game)
    states = [t for t, keyframe in history.keyframes.items() if keyframe.state is not None]
    assert (history.first, history.length) == (32, 59)
    assert states == [32, 48, *range(51, 59)]
    newest = 1 + (MAX_STEPS - 2) % 2  # the denoising steps of the last change
    for t in (58, 48, 40, 33, 32):  # each can be played on from, with any settings
        for steps in (newest, 3):
            game.apply(messages.Seek(t))
            change(game, steps)
            play(game, [1])
            assert np.array_equal(frames(game)[: t - 31], before[: t - 31])


def test_a_game_whose_changes_are_forgotten_is_played_on_exactly_after_them(game: Session) -> None:
    for t in range(20):
        change(game, 1 + t % 2)
        play(game, ACTIONS[t : t + 1])
    play(game, ACTIONS[20:40])
    before = frames(game)
    for t in (25, 19):
        game.apply(messages.Seek(t))
        play(game, ACTIONS[t:40])
        assert np.array_equal(frames(game), before)


@pytest.mark.parametrize(
    ("steps", "mode", "noise", "error"),
    [
        (0, "clean", 0.0, "denoising_steps is 0"),
        (129, "clean", 0.0, "denoising_steps is 129"),
        (2, "dirty", 0.0, "context_mode is 'dirty'"),
        (2, "noised", 1.0, "context_noise is 1.0"),
        (2, "clean", 0.5, "context_noise is 0.5"),
    ],
)
def test_impossible_settings_are_refused(
    game: Session, steps: int, mode: str, noise: float, error: str
) -> None:
    with pytest.raises(ConfigError, match=error):
        change(game, steps, mode, noise)
    play(game, ACTIONS[:2])
    assert game.settings == Settings("cpu", 2, "clean", 0.0)


def test_a_missing_device_is_refused(game: Session) -> None:
    with pytest.raises(ConfigError, match="device is 'abacus'; allowed are auto, cpu"):
        game.apply(messages.ChangeSettings(Settings(device="abacus")))
    play(game, ACTIONS[:2])
    assert game.settings.device == "cpu"


def test_the_time_limit_counts_on_across_settings(game: Session) -> None:
    play(game, [0] * 30)
    change(game, 1)
    play(game, [0] * (MAX_STEPS - 30))
    assert game.timeline.current.truncated and game.timeline.length == MAX_STEPS
