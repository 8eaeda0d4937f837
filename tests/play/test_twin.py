"""The real game beside the dream; on the real MinAtar."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3 import PPO

from dfgym.env.env import DreamEnv
from dfgym.env.real import RealEnv
from dfgym.play import messages, replies, timeline
from dfgym.play.session import Session
from dfgym.play.timeline import RealMoment
from dfgym.world import bundle, shelf
from dfgym.world.settings import Settings
from toys.play import play, read_frame, real_moments

ACTIONS = np.random.default_rng(0).integers(3, size=40).tolist()


@pytest.fixture
def game(breakout_world: Path) -> Session:
    return Session(str(breakout_world), Settings(device="cpu"), seed=0)


def same(first: list[RealMoment], second: list[RealMoment]) -> bool:
    """Whether the real game did the same, in pixels and in all numbers."""

    def values(real: RealMoment) -> tuple[object, ...]:
        return (real.frame.tobytes(), real.reward, real.score, real.terminated, real.diverged)

    return [values(real) for real in first] == [values(real) for real in second]


# --- The real game --------------------------------------------------------------------------------


def test_every_start_is_one_of_the_real_game(game: Session) -> None:
    for index in range(len(game.starts)):
        game.begin(index)
        assert game.take_notice() is None
        (real,) = real_moments(game)
        assert np.array_equal(real.frame, game.timeline.current.frame)
        assert (real.difference, real.diverged, real.score) == (0.0, None, 0.0)


def test_the_twin_is_the_real_game(game: Session) -> None:
    """Step by step what `DFReal` plays on the same seed and actions."""
    index = next(i for i, (_, frame) in enumerate(game.starts) if frame > 20)
    game.begin(index)
    episode, frame = game.starts[index]
    play(game, ACTIONS)
    env = RealEnv(shelf.DEFAULT)
    env.reset(seed=int(game.world.starts.seeds[episode]))
    for action in game.world.starts.episode(episode)[1][:frame]:
        env.step(action)
    score, ended = 0.0, False
    for real, action in zip(real_moments(game)[1:], ACTIONS, strict=True):
        if ended:
            assert real.terminated and real.reward == 0
            continue
        observation, reward, ended, _, _ = env.step(action)
        score += reward
        assert np.array_equal(observation[::4, ::4], real.frame)
        assert (real.reward, real.score, real.terminated) == (reward, score, ended)


def test_the_difference_is_measured(game: Session) -> None:
    game.begin(0)
    play(game, ACTIONS[:12])
    differences = []
    for moment, real in zip(game.timeline.moments, real_moments(game), strict=True):
        differences.append((moment.frame != real.frame).any(-1).mean())
        assert real.difference == pytest.approx(differences[-1])
        first = next((t for t, difference in enumerate(differences) if difference), None)
        assert real.diverged == first
    header, pictures = read_frame(replies.frame(game, 1))
    assert header["real"]["diverged"] == first is not None
    assert np.array_equal(pictures[0], moment.frame) and np.array_equal(pictures[1], real.frame)


@pytest.mark.parametrize("t", [0, 7, 17])
def test_both_games_go_back(game: Session, t: int) -> None:
    game.begin(5)
    play(game, ACTIONS[:20])
    before, frames = real_moments(game), [m.frame.tobytes() for m in game.timeline.moments]
    game.apply(messages.Seek(t))
    play(game, ACTIONS[t:20])
    assert same(real_moments(game), before)
    assert [m.frame.tobytes() for m in game.timeline.moments] == frames


def test_the_real_game_comes_and_goes(game: Session) -> None:
    game.begin(5)
    play(game, ACTIONS[:5])
    assert replies.state(game)["beside"]
    game.apply(messages.ShowReal(False))
    assert not replies.state(game)["beside"] and not replies.state(game)["real_on"]
    assert read_frame(replies.frame(game, 1))[0]["real"] is None
    play(game, ACTIONS[5:10])
    assert game.timeline.current.real is None
    game.apply(messages.ShowReal(True))
    play(game, ACTIONS[10:15])
    after = real_moments(game)
    other = Session(str(game.world.path), Settings(device="cpu"), seed=0)
    other.begin(5)
    play(other, ACTIONS[:15])
    assert same(after, real_moments(other))


def test_it_comes_back_while_the_past_is_shown(game: Session) -> None:
    game.apply(messages.ShowReal(False))
    game.begin(5)
    play(game, ACTIONS[:15])
    game.apply(messages.Seek(6))
    game.apply(messages.ShowReal(True))
    assert len(read_frame(replies.frame(game, 1))[1]) == 2
    play(game, ACTIONS[6:15])
    other = Session(str(game.world.path), Settings(device="cpu"), seed=0)
    other.begin(5)
    play(other, ACTIONS[:15])
    assert same(real_moments(game), real_moments(other))


def test_the_real_game_of_a_long_episode(game: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """It follows from the reset, although the oldest frames were dropped."""
    monkeypatch.setattr(timeline, "MAX_STEPS", 30)
    game.begin(5)
    play(game, ACTIONS)
    before = [(real.frame.tobytes(), real.score, real.difference) for real in real_moments(game)]
    assert game.timeline.first == 16
    game.apply(messages.ShowReal(False))
    game.apply(messages.ShowReal(True))
    game.apply(messages.Seek(20))
    play(game, ACTIONS[20:])
    after = [(real.frame.tobytes(), real.score, real.difference) for real in real_moments(game)]
    assert after == before


def test_an_unknown_seed_hides_the_real_game(
    breakout_world: Path,
    tmp_path: Path,
) -> None:
    world = bundle.load(breakout_world)
    seeds = np.full_like(world.starts.seeds, -1)
    starts = bundle.Starts(**{**vars(world.starts), "seeds": seeds})
    path = tmp_path / world.card.name
    bundle.write(path, world.card, world.weights, starts)
    game = Session(str(path), Settings(device="cpu"))
    greeting = replies.hello(game, "it")["real"]
    assert not greeting["available"] and "does not say with which seed" in greeting["note"]
    game.advance()


def test_a_game_that_is_not_installed(
    breakout_world: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("minatar")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "minatar.environments.breakout", None)
    game = Session(str(breakout_world), Settings(device="cpu"))
    greeting = replies.hello(game, "it")["real"]
    assert not greeting["available"] and 'pip install "dfgym[minatar]"' in greeting["note"]
    game.advance()


def test_the_scripted_player_plays(game: Session) -> None:
    game.apply(messages.SelectAgent("scripted"))
    for _ in range(10):
        game.advance()
    assert {moment.by for moment in game.timeline.moments[1:]} == {"scripted"}


def test_an_agent_begins_at_the_controls(breakout_world: Path, tmp_path: Path) -> None:
    PPO("MlpPolicy", DreamEnv(breakout_world, device="cpu"), device="cpu").save(tmp_path / "it.zip")
    for agent, label in [
        ("scripted:0.2", "scripted:0.2"),
        (f"sb3:ppo:{tmp_path / 'it.zip'}", "sb3:ppo:it.zip"),
    ]:
        game = Session(str(breakout_world), Settings(device="cpu"), agents=[agent], agent=agent)
        greeting = replies.hello(game, "it")
        assert greeting["agents"] == ["random", "scripted", label]
        assert greeting["agent"] == label
        game.advance()
        assert game.timeline.current.by == label
        game.apply(messages.SelectAgent(None))
        game.apply(messages.SelectAgent(label))
        game.advance()


def test_the_default_world_begins_like_its_game() -> None:
    game = Session(shelf.DEFAULT, Settings(device="cpu"), seed=0)
    play(game, [0, 0, 0])
    assert game.beside and game.timeline.length == 3
    assert "lawfully" in replies.hello(game, "it")["real"]["note"]
