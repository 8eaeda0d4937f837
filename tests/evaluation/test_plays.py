"""Classifier, reader of actions and occupancy: closed forms, the game itself, and doctored play."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dfgym.errors import NotMeasuredError
from dfgym.evaluation import classifier, inverse, occupancy, small_network
from dfgym.evaluation.plays import Plays, clips, gather
from dfgym.evaluation.rollout import Episode
from dfgym.evaluation.small_network import SmallNetwork, stack
from dfgym.world.card import Card
from toys.breakout import PerfectDynamics, rows_of


def noise(count: int, level: int, row: int) -> Episode:
    """Return an episode of grey noise about a level."""
    random = np.random.default_rng(row)
    frames = random.integers(level - 40, level + 40, (count, 6, 6, 3)).astype(np.uint8)
    nothing = np.zeros(count - 1)
    return Episode(frames, nothing.astype(int), nothing, nothing > 0, row, 0)


def rows(level: int, first: int = 0) -> list[Episode]:
    return [noise(80, level, first + row) for row in range(8)]


def test_a_classifier_tells_what_differs_and_guesses_where_nothing_does() -> None:
    apart = classifier.discriminate(rows(160), rows(90, 100), 0)
    assert apart["accuracy"] > 0.98
    same = classifier.discriminate(rows(90, 50), rows(90, 100), 0)
    assert 0.3 < same["accuracy"] < 0.7 and same["clips"] == 80
    low, high = same["interval"]
    assert low < same["accuracy"] < high


def test_the_distance_is_that_of_its_kernel_and_covers_itself() -> None:
    """By hand, for single features at (-1, 1) and (0, 2), of which the latter are the real game."""
    x, y, rows = np.array([[-1.0], [1.0]]), np.array([[0.0], [2.0]]), np.arange(2)
    a, b = np.tanh(x - 1), np.tanh(y - 1)  # the real mean is 1, and its deviation 1
    kernel = lambda u, v: float((u @ v + 1) ** 3)  # noqa: E731
    cross = np.mean([kernel(u, v) for u in a for v in b])
    expected = kernel(a[0], a[1]) + kernel(b[0], b[1]) - 2 * cross
    assert classifier.distance(x, y, (rows, rows))["mmd"] == pytest.approx(expected)
    random = np.random.default_rng(0)
    values, owners = random.normal(size=(3, 200, 5)), np.arange(200) // 20
    same = classifier.distance(values[0], values[1], (owners, owners))
    moved = classifier.distance(values[0], values[2] + 0.6, (owners, owners))
    assert same["mmd"] < 3 * same["mmd_chance"] and moved["mmd"] > 3 * moved["mmd_chance"]


def test_rows_that_differ_from_each_other_are_no_distance_of_the_games() -> None:
    random = np.random.default_rng(0)
    owners = np.arange(200) // 20
    plays = [random.normal(size=(200, 4)) + random.normal(size=(10, 4))[owners] for _ in range(2)]
    result = classifier.distance(plays[0], plays[1], (owners, owners))
    assert result["mmd"] < 2 * result["mmd_chance"]


def test_maps_are_compared_as_shares() -> None:
    one, two = np.array([[1.0, 1.0]]), np.array([[6.0, 2.0]])
    assert occupancy.map_distance(one, two) == pytest.approx(0.25)
    assert (
        occupancy.map_distance(one, 0 * two) == 1 and occupancy.map_distance(0 * one, 0 * two) == 0
    )


def test_scores_of_actions_that_were_read() -> None:
    result = inverse.score(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), 3)
    assert result["accuracy"] == 0.75 and result["confusion"][0] == [2 / 3, 1 / 3, 0]
    assert result["f1"] == pytest.approx((0.8 + 2 / 3) / 2)  # action 2 was neither taken nor read


def test_clips_do_not_leave_their_episode() -> None:
    frames, players, places = clips([noise(20, 90, 3), noise(5, 90, 4)], 8)
    assert frames.shape == (2, 8, 6, 6, 3)
    assert players.tolist() == [3, 3] and places.tolist() == [0, 8]
    with pytest.raises(NotMeasuredError, match="the longest has 5 frames, and a clip 8"):
        clips([noise(5, 90, 0)], 8)


def test_frames_of_a_stack_lie_behind_each_other() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 5, 3)).astype(np.uint8)
    assert np.array_equal(stack(frames)[1, 2, 3], frames[1, :, 2, 3].reshape(-1))


@pytest.mark.parametrize("shape", [(10, 10, 9), (64, 64, 9), (33, 48, 24)])
def test_a_small_network_fits_any_frame(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_network, "LEAST_STEPS", 2)
    examples = np.random.default_rng(0).integers(0, 255, (20, *shape)).astype(np.uint8)
    networks = [SmallNetwork(examples, 4, seed) for seed in (0, 0, 1)]
    for network in networks:
        network.train(examples, np.arange(20) % 4)
    same, again, other = (network.features(examples).detach().numpy() for network in networks)
    assert np.array_equal(same, again) and not np.array_equal(same, other)
    assert set(networks[0].read(examples)) <= {0, 1, 2, 3}


@pytest.fixture(scope="module")
def honest(breakout_card: Card) -> Plays:
    """The real game, which its own toy dreams."""
    pytest.importorskip("minatar")
    return gather(rows_of(PerfectDynamics, breakout_card), breakout_card, 1600)


def check_section(module: Any, result: dict[str, Any]) -> None:
    section = module.section(result)
    assert section.rungs and section.table is not None
    assert {len(row) for row in section.table.rows} == {len(section.table.header)}
    assert module.card_entries(result)


def test_the_real_game_passes(honest: Plays, breakout_card: Card) -> None:
    telling = classifier.compare(honest)
    assert telling["dream"]["accuracy"] < 0.65 and telling["copy"]["accuracy"] > 0.9
    reading = inverse.compare(honest, breakout_card)
    assert reading["dream"]["f1"] > reading["real"]["f1"] - 0.06 > 0.6 > reading["copy"]["f1"]
    places = occupancy.compare(honest, breakout_card.frames.palette)
    assert places["dream"]["total_variation"] < 0.1 < 0.3 < places["copy"]["total_variation"]
    for module, result in ((classifier, telling), (inverse, reading), (occupancy, places)):
        assert {finding.level for finding in module.findings(result)} == {"merit"}
        check_section(module, result)


def test_a_ball_that_vanishes_is_noticed(honest: Plays, breakout_card: Card) -> None:
    ball = np.array(breakout_card.frames.palette[2], np.uint8)
    dream = []
    for episode in honest.dream:
        frames = episode.frames.copy()
        frames[(frames == ball).all(-1)] = 0
        dream.append(replace(episode, frames=frames))
    doctored = replace(honest, dream=dream)
    assert classifier.discriminate(doctored.dream, doctored.real, 0)["accuracy"] > 0.7
    (finding,) = occupancy.findings(occupancy.compare(doctored, breakout_card.frames.palette))
    assert finding.level != "merit" and "most of all" in finding.words


def test_a_dream_that_does_other_than_it_is_commanded_is_noticed(
    honest: Plays, breakout_card: Card
) -> None:
    exchange = np.array([0, 2, 1])
    dream = [replace(episode, actions=exchange[episode.actions]) for episode in honest.dream]
    (finding,) = inverse.findings(inverse.compare(replace(honest, dream=dream), breakout_card))
    assert finding.level == "fault"
