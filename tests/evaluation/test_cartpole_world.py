"""The whole measurement of a CartPole world: another policy, another judge, short episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from toys.world import toy_card, toy_weights

pytest.importorskip("pygame")

from dfgym.errors import NotMeasuredError
from dfgym.evaluation import drift, horizon, moments, motion, rates, run
from dfgym.evaluation.rollout import Episode, Real, open_real, policies, roll
from dfgym.evaluation.subject import QUICK
from dfgym.games import RandomPolicy, cartpole
from dfgym.games.cartpole import CartPolePolicy
from dfgym.games.source import Opening, open_source
from dfgym.model.config import ModelConfig
from dfgym.world import bundle
from dfgym.world.card import Actions, Card, Frames, Source
from dfgym.world.card import Episode as Limit
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

SIDE = 32


def cartpole_card(**changes: object) -> Card:
    fields: dict[str, Any] = {
        "name": "toy-cartpole-v0",
        "source": Source("CartPole-v1", {}, {}, "cartpole", "MIT"),
        "frames": Frames(SIDE, SIDE, 1, 50, ()),
        "actions": Actions(2, ("left", "right"), keys={}),
        "model": ModelConfig(dim=16, depth=1, heads=2, patch=8, window=4),
        "episode": Limit(max_steps=500),
    }
    return toy_card(**(fields | changes))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, and starts of the real game."""
    card = cartpole_card()
    rolled = roll(Real(card, 2), [RandomPolicy(2, i) for i in range(2)], 60, 20)
    lengths = [len(episode.frames) for episode in rolled]
    starts = bundle.Starts(
        np.concatenate([episode.frames for episode in rolled]),
        np.concatenate([np.append(episode.actions, 0) for episode in rolled]),
        np.cumsum([0, *lengths]),
        np.array([episode.seed for episode in rolled]),
    )
    path = tmp_path_factory.mktemp("worlds") / card.name
    bundle.write(path, card, toy_weights(card), starts)
    return path


def make_of(path: Path) -> Callable[[int], Dynamics]:
    loaded = bundle.load(path)
    return lambda rows: Dynamics(loaded, rows, Settings("cpu", 1))


def test_the_scripted_policy_plays() -> None:
    first, second = policies(cartpole_card(), 2, 0.1, seed=3)
    assert isinstance(first, CartPolePolicy) and first.epsilon == 0.1
    assert isinstance(second, CartPolePolicy)
    assert first.random.random() != second.random.random()
    other = cartpole_card(source=Source("Acrobot-v1", {}, {}, "", "MIT"))
    assert isinstance(policies(other, 1, 0.1)[0], RandomPolicy)


def test_horizons_beyond_every_episode_are_left_out(world: Path) -> None:
    card = cartpole_card(episode=Limit(max_steps=24))  # shorter than any player's fall
    result = horizon.compare(make_of(world), card, 6, (1, 4, 16, 64))
    assert result["horizons"][:2] == [1, 4] and 64 not in result["horizons"]
    assert (
        result["moments"] == sorted(result["moments"], reverse=True) and result["moments"][0] == 6
    )
    assert all(len(result[name]["psnr"]) == len(result["horizons"]) for name in ("dream", "copy"))
    assert "real" not in result
    with pytest.raises(NotMeasuredError, match=r"`horizons` is \(64,\); .* cut after 24"):
        horizon.compare(make_of(world), card, 1, (64,))


def test_real_episodes_are_cut_at_the_cards_limit() -> None:
    pasts = moments.draw(cartpole_card(episode=Limit(max_steps=30)), 5, 0.0, 1, least=80)
    assert max(len(moment.episode) for moment in pasts) == 30
    assert not open_real(cartpole_card()).can_redraw


def test_drift_distinguishes_a_dream_from_the_drawing(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "JUDGED", 20)
    result = drift.track(make_of(world), cartpole_card(), frames=60, rows=2, blocks=3)
    assert all(len(result[name]["drawn_error"]) == 3 for name in ("dream", "real"))
    assert max(result["real"]["drawn_error"]) < 4 < min(result["dream"]["drawn_error"])
    assert "illegal_per_1000" not in result["real"]
    assert "difference from the real game" in drift.section(result).verdict
    for name in ("dream", "real"):
        del result[name]["drawn_error"]
    assert "difference from the real game" not in drift.section(result).verdict


def test_drawn_errors_are_each_blocks_own() -> None:
    """Two pieces of white frames, one of black ones; a piece shorter than the stride counts."""
    frames = np.zeros((10, SIDE, SIDE, 3), np.uint8)
    frames[:6] = 255
    zeros = np.zeros(9)
    episode = Episode(frames, zeros.astype(int), zeros, zeros > 0, 0, 0)
    pieces = [(episode, 0, 0, 1), (episode, 0, 1, 5), (episode, 1, 5, 9)]
    bright, dark = drift.drawing_errors(pieces, cartpole.compare, stride=3)
    assert bright < 60 and dark > 200


class Replay:
    """A dream that knows the recording, and goes on from any past at a multiple of its pace."""

    def __init__(self, starts: bundle.Starts, pace: int) -> None:
        self.frames, self.pace = starts.frames, pace

    def reset(self, rows: np.ndarray, seeds: np.ndarray, contexts: Sequence[Any]) -> None:
        self.at = [
            next(
                i
                for i in range(len(past) - 1, len(self.frames))
                if np.array_equal(self.frames[i + 1 - len(past) : i + 1], past)
            )
            for past, _ in contexts
        ]

    def step(self, actions: np.ndarray) -> SimpleNamespace:
        self.at = [min(i + self.pace, len(self.frames) - 1) for i in self.at]
        return SimpleNamespace(frames=self.frames[self.at])


def replaying(starts: bundle.Starts, pace: int) -> Callable[[int], Any]:
    """Make what an evaluation takes for a maker of `Dynamics`, which `Replay` resembles."""
    return lambda num_rows: Replay(starts, pace)


@pytest.mark.parametrize("pace", [0, 1, 2])
def test_motion_of_a_dream_that_stands_keeps_pace_or_runs(pace: int) -> None:
    """Uniform motion: at twice the pace it is too far by as much as a dream that stands lags."""
    source, n, frames = open_source(Opening("CartPole-v1", size=(64, 64))), 24, []
    source.env.reset(seed=0)
    game: Any = source.env.unwrapped
    for x, angle in zip(np.linspace(-1, 1, n), np.linspace(-0.2, 0.2, n), strict=True):
        game.state = np.array([x, 0.0, angle, 0.0])
        frames.append(source.frame(None))
    source.env.close()
    none = np.zeros(n, np.int64)
    starts = bundle.Starts(np.stack(frames), none, np.array([0, n]), none[:1])
    result = motion.compare(replaying(starts, pace), cartpole.GAME, starts, window=2, count=4)
    reached = [h for h in result["horizons"] if h <= 10]
    assert result["horizons"] == [1, 5, 10, 20] and result["starts"][0] == 3
    for name, step, eye in (
        ("position", 2 / (n - 1), 0.02),
        ("angle", np.degrees(0.4 / (n - 1)), 0.5),
    ):
        for i, steps in enumerate(reached):
            way = steps * step
            assert result[name]["moved"][i] == pytest.approx(way, abs=eye)
            assert result[name]["error"][i] == pytest.approx(abs(pace - 1) * way, abs=eye)
        assert result[name]["share"][len(reached) - 1] == pytest.approx(pace, abs=0.1)
    section = motion.section(result)
    assert "off by" in section.verdict
    (rung,) = section.rungs
    assert rung.question.endswith("in 10 frames? (share of it: position / angle)")
    assert [float(cell) for cell in rung.figure.split(" / ")] == pytest.approx([pace] * 2, abs=0.1)
    assert (rung.real, rung.copy) == ("1.00 / 1.00", "0.00 / 0.00")
    short = bundle.Starts(starts.frames[:2], none[:2], np.array([0, 2]), none[:1])
    with pytest.raises(
        NotMeasuredError, match="no start has a past of 2 frames and one to compare with"
    ):
        motion.compare(replaying(short, pace), cartpole.GAME, short, window=2)


@pytest.mark.slow
def test_a_cartpole_world_is_measured_from_end_to_end(
    tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For time: the real game takes 2 ms to draw a frame.
    monkeypatch.setattr(horizon, "compare", partial(horizon.compare, horizons=(1, 8)))
    monkeypatch.setattr(drift, "JUDGED", 4)
    monkeypatch.setattr(drift, "COUNT", 50 * QUICK)
    monkeypatch.setattr(rates, "QUICK_COUNT", 200)
    questions = ("legality", "drift", "motion", "horizon", "rates", "transfer")
    result = run.evaluate(world, tmp_path, True, Settings("cpu", 1), questions)
    assert len(result["drift"]["dream"]["drawn_error"]) == 10
    assert result["motion"]["horizons"] == [1, 5, 10]
    assert set(result["absent"]) == {"legality", "transfer"}
    html = (tmp_path / "evaluation.html").read_text()
    assert "difference from the real game" in html and "<h2>Motion" in html
