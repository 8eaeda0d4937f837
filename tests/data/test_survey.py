"""The facts of a recording against recordings whose facts are known, and every warning."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfgym import cli
from dfgym.data.chance import Chance, hash_rows, measure_chance
from dfgym.data.store import EpisodeStore
from dfgym.data.summary import describe, warnings
from dfgym.data.survey import look, reward_buckets
from dfgym.errors import DataError
from toys import walk
from toys.recordings import GOOD


def test_the_facts_of_the_walk(tmp_path: Path) -> None:
    store = EpisodeStore.open(walk.record(tmp_path / "walk", episodes=300))
    facts = look([store])
    lengths = [episode.frames - 1 for episode in store.episodes]
    assert (facts.frames, facts.episodes) == (store.num_frames, 300)
    assert (facts.shortest, facts.longest) == (min(lengths), max(lengths))
    assert facts.terminated + facts.truncated == 300
    assert facts.rewards == {0.0: sum(lengths) - facts.terminated, 1.0: facts.terminated}
    assert facts.colours == 2 and facts.mover == 1 and facts.buckets == (0.0, 1.0)
    assert sum(facts.actions) == sum(lengths)
    # Two of the cells change in a step, or none where the wall is.
    assert facts.change == pytest.approx((1 - facts.still) * 2 / walk.SIDE**2)
    assert facts.chance.agreement == 1 and facts.chance.outcomes == 1 and facts.chance.memory == 1
    assert warnings(facts) == []
    twice = look([store, store])
    assert twice.frames == 2 * facts.frames and twice.change == pytest.approx(facts.change)


def test_several_outcomes_are_counted() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(3, size=20_000).astype(np.uint64)
    chance = measure_chance(keys, np.zeros(len(keys), int), np.arange(len(keys)) > 0)
    assert chance.outcomes == 3 and chance.memory == 1
    assert chance.agreement == pytest.approx(1 / 3, abs=0.01)


def test_a_hidden_timer_needs_its_past() -> None:
    keys = (np.arange(4000) % 6 == 0).astype(np.uint64)
    chance = measure_chance(keys, np.zeros(len(keys), int), np.arange(len(keys)) > 0)
    assert chance.agreement == 1 and chance.outcomes == 1 and chance.memory == 8
    (text,) = warnings(dataclasses.replace(GOOD, chance=chance))
    assert "8 frames or more" in text


def test_actions_and_episodes_set_moments_apart() -> None:
    actions = np.random.default_rng(0).integers(2, size=4000)
    keys = np.concatenate([[0], actions[:-1]]).astype(np.uint64)
    chance = measure_chance(keys, actions, np.arange(4000) > 0)
    assert chance.agreement == 1
    blind = measure_chance(keys, 0 * actions, np.arange(4000) > 0)
    assert blind.agreement == pytest.approx(0.5, abs=0.01)
    follows = np.arange(4000) % 10 > 0  # what comes after an episode's last frame is no outcome
    keys = np.arange(4000).astype(np.uint64) % 10 + 100 * (np.arange(4000) % 20 == 0)
    chance = measure_chance(keys.astype(np.uint64), 0 * actions, follows)
    assert chance.agreement == 1


def test_moments_that_never_come_again_tell_nothing() -> None:
    chance = measure_chance(np.arange(999).astype(np.uint64), np.zeros(999, int), np.ones(999) > 0)
    assert chance == Chance()
    assert "unknown" in describe(dataclasses.replace(GOOD, chance=chance))


def test_hashes_tell_frames_apart() -> None:
    frames = np.zeros((3 * 7 * 5 * 3 * 8, 7, 5, 3), np.uint8)
    for number in range(7 * 5 * 3 * 8):  # every single bit
        frames.reshape(len(frames), -1)[number, number // 8] = 1 << number % 8
    frames[7 * 5 * 3 * 8 : 2 * 7 * 5 * 3 * 8] = frames[: 7 * 5 * 3 * 8] + 3
    keys = hash_rows(frames)
    assert len(np.unique(keys)) == len(np.unique(frames.reshape(len(frames), -1), axis=0))
    assert np.array_equal(keys[:9], hash_rows(frames[:9]))


def test_rewards_are_exact_or_buckets_of_the_data() -> None:
    few = np.repeat(np.arange(32, dtype=np.float32), 3)
    assert reward_buckets(few) == tuple(range(32))
    rng = np.random.default_rng(0)
    many = rng.normal(size=4000).astype(np.float32)
    many[:3000] = 0  # one value is frequent, and two are far away
    many[-2:] = (-100, 100)
    buckets = np.array(reward_buckets(many))
    assert len(buckets) == 32 and {-100, 0, 100} <= set(buckets.tolist())
    assert np.isin(buckets, many).all()
    error = np.abs(many[:, None] - buckets).min(1)
    assert error.mean() < 0.02 and np.median(np.abs(buckets)) < 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episodes": 1}, "there is one episode"),
        ({"episodes": 7}, "only 7 episodes"),
        ({"terminated": 0}, "will never end"),
        ({"terminated": 3}, "only 3 ends"),
        ({"rewards": {0.0: 4900}}, "no reward in the data: every step pays 0, so an agent will"),
        ({"rewards": {1.0: 4900}}, "pays 1, so all that can be learned is to last long$"),
        ({"rewards": {-1.0: 4900}}, "pays -1, so all that can be learned is to end soon$"),
        ({"height": 37, "width": 53}, r"37 x 53 .* training will refuse them; .* --resize 32 48"),
        ({"rewards": {0.0: 4890, 1.0: 10}}, "other than 0 came 10 times"),
        ({"rewards": {0.0: 4000, 1.0: 880, 5.0: 20}}, r"less than 50 times: 5 \(20\)"),
        ({"actions": (4900, 0)}, r"action 1 \(right\) was never taken"),
        ({"actions": (4890, 10)}, "taken only 10 times"),
        ({"still": 0.95}, "95% of the steps change no pixel"),
    ],
)
def test_what_will_go_wrong_is_said(change: dict[str, Any], message: str) -> None:
    assert warnings(GOOD) == []
    (text,) = warnings(dataclasses.replace(GOOD, **change))
    assert "learn nothing" not in text or change["rewards"] == {0.0: 4900}
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(text)


def test_what_pays_alike_and_never_ends_teaches_nothing() -> None:
    _, text = warnings(dataclasses.replace(GOOD, terminated=0, rewards={-1.0: 4900}))
    assert "pays -1, whatever is done" in text and "come to an end" in text


def test_the_command_prints_a_table_or_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = walk.record(tmp_path / "walk", episodes=10)
    assert cli.main(["survey", str(data)]) == 0
    table = capsys.readouterr().out
    assert "2: learned as a palette" in table and "warning: there are only 10 episodes" in table
    assert cli.main(["survey", str(data), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["episodes"] == 10 and facts["chance"]["outcomes"] == 1
    assert len(facts["warnings"]) >= 1
    EpisodeStore.create(tmp_path / "empty", walk.META)
    with pytest.raises(DataError, match="holds no finished episode"):
        look([EpisodeStore.open(tmp_path / "empty")])
    with pytest.raises(DataError, match=r"^no data set is named; give"):
        look([])
    assert cli.main(["survey", str(tmp_path / "empty")]) == 2
