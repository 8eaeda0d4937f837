"""Pasts of real games, and dreams from them whose scores are known: over the horizon, one step."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from dfgym.evaluation import horizon, moments, next_frame, rollout, uncertainty
from dfgym.evaluation.moments import Moment
from dfgym.evaluation.rollout import Episode, Rows, open_real
from dfgym.world import shelf
from dfgym.world.card import Card, Rewards
from dfgym.world.outcomes import Transition
from toys.breakout import FrozenDynamics, PerfectDynamics, rows_of


def test_moment_holds_its_end_and_notices_a_cut() -> None:
    frames = np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3)
    ends = np.array([False, False, False, True])
    episode = Episode(frames, np.arange(4), np.zeros(4), ends, 0, 0)
    after, actions, recorded = Moment(episode, 2).after(6)
    assert np.array_equal(after, frames[[2, 3, 4, 4, 4, 4, 4]])
    assert actions.tolist() == [2, 3, 0, 0, 0, 0] and recorded == 6
    cut = Episode(frames, np.arange(4), np.zeros(4), ends & False, 0, 0)
    assert Moment(cut, 2).after(6)[2] == 2
    past, between = Moment(episode, 3).context(3)
    assert np.array_equal(past, frames[1:4]) and between.tolist() == [1, 2]


def test_no_more_is_played_than_moments_need(
    breakout_card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[float] = []

    def roll(game: Rows, players: Any, transitions: int, most: int | None) -> list[Episode]:
        steps.append(transitions / game.num_rows)
        return rollout.roll(game, players, transitions, most)

    monkeypatch.setattr(moments, "roll", roll)
    for count, least in ((20, 0), (20, 50), (4, 50)):
        assert len(moments.draw(breakout_card, count, 0.1, 0, least)) == count
    assert steps == [80 / 16, 50, 50]  # the second number is each row's, however many there are
    uncertainty.compare(rows_of(FrozenDynamics, breakout_card), breakout_card, 32, 8, 10)
    assert max(steps) == uncertainty.AGE


def test_a_twin_has_the_same_past_and_another_future(breakout_card: Card) -> None:
    pasts = moments.draw(breakout_card, 20, 0.1, seed=0)
    source = open_real(breakout_card)
    differ = 0
    for moment in pasts:
        future, actions, _ = moment.after(100)
        twin = moments.twin(source, moment, actions, seed=1)
        assert np.array_equal(twin.frames[0], future[0])
        differ += not np.array_equal(moments.hold(twin.frames, 100), future)
    assert differ > 15


def test_a_dream_that_copies_scores_as_the_copy_does(breakout_card: Card) -> None:
    result = horizon.compare(rows_of(FrozenDynamics, breakout_card), breakout_card, 8, (1, 4, 16))
    assert result["horizons"] == [1, 4, 16] and result["moments"][0] == 8
    assert result["dream"] == result["copy"]
    assert (
        result["real"]["exact"][0] > 0.7 and result["real"]["psnr"][0] > result["copy"]["psnr"][0]
    )
    single = next_frame.compare(rows_of(FrozenDynamics, breakout_card), breakout_card, 300)
    dream, copy = single["dream"], single["copy"]
    assert all(dream[key] == copy[key] for key in copy)
    assert dream["shuffled"] == {key: copy[key] for key in ("psnr", "ssim", "exact")}
    assert copy["reward"]["recall"] == 0 and copy["reward"]["events"] > 5
    rate = copy["termination"]["events"] / 300
    assert dream["calibration"]["ece"] == pytest.approx(0.25 - rate)
    assert single["real"]["exact"] > 0.9 and single["real"]["reward"]["f1"] == 1
    assert copy["changing"]["right"] == 0 and copy["changing"]["pixels"] > 600
    assert 0.9 < single["real"]["changing"]["right"] < 1
    assert 300 < copy["rare"]["pixels"] < 1000 and copy["rare"]["right"] < 0.7
    levels = {item.level for item in next_frame.findings(single)}
    assert "fault" in levels and "merit" not in levels


def test_shuffled_actions_worsen_a_dream_that_obeys(breakout_card: Card) -> None:
    """It moves the paddle alone, which is right while the ball hides."""

    class Obeys(FrozenDynamics):
        def step(self, actions: np.ndarray) -> Transition:
            for frame, action in zip(self.current, actions, strict=True):
                row = np.roll(frame[9], (0, -1, 1)[action], axis=0)
                frame[9] = row
            return super().step(actions)

    result = next_frame.compare(rows_of(Obeys, breakout_card), breakout_card, 200)["dream"]
    assert result["psnr"] > result["shuffled"]["psnr"] + 0.2
    assert result["listening"]["interval"][0] > 0
    assert result["listening"]["tried"] == 16 and result["listening"]["parted"] > 8


def test_a_game_that_shows_no_action_at_once_blames_no_dream() -> None:
    """A push changes CartPole's speeds, and only then what is seen."""
    card = shelf.card("cartpole-pixels-v0")
    result = next_frame.compare(rows_of(FrozenDynamics, card), card, 40)
    listening = result["dream"]["listening"]
    assert listening["moments"] >= next_frame.FEW and listening["interval"][0] <= 0
    assert listening["tried"] >= 10 and listening["parted"] == 0
    words = [item.words for item in next_frame.findings(result)]
    assert any("none of them shows within one step" in line for line in words)
    assert not any("does not listen" in line for line in words)


def test_rewards_of_many_values_are_compared_as_amounts(breakout_card: Card) -> None:
    """A world that knows no reward of 1 cannot foresee one; what it can say is how much comes."""
    card = dataclasses.replace(breakout_card, rewards=Rewards((0.0, 0.4)))
    result = next_frame.compare(rows_of(PerfectDynamics, card), card, 300)
    assert "reward" not in result["dream"] and "reward" not in result["copy"]
    scores = result["dream"]["return"]
    assert scores["steps"] == 8 and scores["moments"] > 200 and 0 < scores["error"] < 1
    section = next_frame.section(result)
    assert "sum of 8 rewards" in section.verdict
    assert section.table is not None
    assert {len(row) for row in section.table.rows} == {len(section.table.header)}
