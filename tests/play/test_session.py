"""A game being played, without a browser: keys, ends, starts, agents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfgym.env.env import DreamEnv
from dfgym.errors import ActionError, ConfigError, DfgymError
from dfgym.play import messages, replies
from dfgym.play.session import Session
from dfgym.world.settings import Settings
from toys.play import ACTIONS, MAX_STEPS, frames, play, read_frame

# --- Playing --------------------------------------------------------------------------------------


def test_a_game_is_what_the_environment_plays(game: Session) -> None:
    context = game.timeline.context(4)
    play(game, ACTIONS[:10])
    env = DreamEnv(game.world.path, device="cpu")
    seed = np.random.SeedSequence([game.film().seed, 0]).generate_state(1)[0]
    env.reset(seed=int(seed), options={"frames": context[0], "actions": context[1]})
    for action, moment in zip(ACTIONS[:10], game.timeline.moments[1:], strict=True):
        observation, reward, terminated, _, info = env.step(action)
        assert np.array_equal(observation[::5, ::5], moment.frame)
        assert (action, reward, terminated) == (moment.action, moment.reward, moment.terminated)
        assert info["uncertainty"] == moment.uncertainty
    assert moment.score == sum(moment.reward for moment in game.timeline.moments)
    assert moment.by == "human" and moment.ms > 0


def test_games_of_one_seed_are_equal(calm_world: Path) -> None:
    games = [Session(str(calm_world), Settings(device="cpu"), seed=seed) for seed in (1, 1, 2)]
    for game in games:
        play(game, ACTIONS[:5])
    assert np.array_equal(frames(games[0]), frames(games[1]))
    assert not np.array_equal(frames(games[0]), frames(games[2]))


def test_an_episode_is_truncated_and_the_next_begins(game: Session) -> None:
    play(game, [0] * MAX_STEPS)
    assert game.timeline.ended and game.timeline.current.truncated
    assert game.timeline.length == MAX_STEPS and game.episode == 1
    game.advance()
    assert (game.episode, game.timeline.length) == (2, 0)


def test_a_start_is_chosen(game: Session) -> None:
    starts = replies.hello(game, "it")["starts"]
    assert [start["index"] for start in starts] == list(range(len(starts)))
    assert 4 < len(starts) <= 12
    for index, (episode, frame) in enumerate(game.starts):
        game.apply(messages.Reset(index))
        recorded = game.world.starts.episode(episode)[0][frame]
        assert np.array_equal(game.timeline.current.frame, recorded)
        game.advance()  # and it can be played on from
    with pytest.raises(ConfigError, match="start is 99; allowed is 0 to"):
        game.apply(messages.Reset(99))
    with pytest.raises(ConfigError, match="start is -1; allowed is 0 to"):
        game.apply(messages.Reset(-1))


def test_an_action_that_is_not_there_is_refused(game: Session) -> None:
    for action in (3, -1):
        with pytest.raises(ActionError):
            game.hold(action, 1)
    assert not game.urgent


def test_a_tap_between_two_steps_is_played(game: Session) -> None:
    game.hold(1, 1)
    game.hold(0, 2)
    played = []
    for _ in range(3):
        played.append((game.urgent, game.timeline.current.action, game.input))
        game.advance()
    assert played == [(True, None, 0), (True, 1, 1), (False, 0, 2)]


def test_a_tap_in_a_pause_is_not_played(game: Session) -> None:
    game.apply(messages.Pause(True))
    game.hold(1, 1)
    game.hold(0, 2)
    game.apply(messages.Step())
    assert (game.timeline.current.action, game.input) == (0, 2)


def test_a_single_step_pauses(game: Session) -> None:
    game.hold(2, 1)
    game.apply(messages.Step())
    assert game.paused and game.timeline.cursor == 1 and game.timeline.current.action == 2


# --- Agents, and what is not available ------------------------------------------------------------


def test_an_agent_takes_over_and_gives_back(game: Session) -> None:
    game.hold(1, 1)
    game.apply(messages.SelectAgent("random"))
    assert not game.urgent
    for _ in range(20):
        game.advance()
    assert {m.by for m in game.timeline.moments[1:]} == {"random"}
    assert len({m.action for m in game.timeline.moments[1:]}) == 3
    game.apply(messages.SelectAgent(None))
    game.advance()
    assert (game.timeline.current.by, game.timeline.current.action) == ("human", 1)
    with pytest.raises(ConfigError, match="no agent 'nobody'; there are random"):
        game.apply(messages.SelectAgent("nobody"))


def test_an_agent_that_does_not_fit_is_refused(calm_world: Path, tmp_path: Path) -> None:
    for agent in ("scripted:0.1", "nobody", f"sb3:ppo:{tmp_path}/none.zip"):
        with pytest.raises(ConfigError):
            Session(str(calm_world), Settings(device="cpu"), agents=[agent], agent=agent)


def test_a_game_that_is_not_the_recorded_one_is_not_shown(game: Session) -> None:
    """The toy says that it comes from Breakout, which draws other frames."""
    greeting = replies.hello(game, "it")["real"]
    assert not greeting["available"] and not greeting["on"]
    assert "does not come to its frame 0" in greeting["note"]
    with pytest.raises(ConfigError, match="does not come to its frame 0"):
        game.apply(messages.ShowReal(True))
    assert read_frame(replies.frame(game, 1))[0]["real"] is None


def test_close_twice(game: Session) -> None:
    game.close()
    game.close()
    with pytest.raises(DfgymError):
        game.advance()
