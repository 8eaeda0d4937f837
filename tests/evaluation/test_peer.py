"""Rollouts of other systems, and two worlds side by side: what is refused, and what is noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfgym.errors import ConfigError
from dfgym.evaluation import comparison, objects, peer, plays, run, small_network
from dfgym.evaluation.blobs import find_scenery
from dfgym.evaluation.plays import Plays, freeze
from dfgym.evaluation.report import NONE, Table
from dfgym.evaluation.rollout import Episode
from dfgym.world.card import Card


def write(folder: Path, name: str = "a", **changes: Any) -> Path:
    """Write a rollout of 12 black frames, with other arrays or (if None) without them."""
    arrays: dict[str, Any] = {
        "frames": np.zeros((12, 10, 10, 3), np.uint8),
        "actions": np.arange(11) % 3,
        "rewards": np.zeros(11, np.float32),
        "ends": np.zeros(11, bool),
    }
    arrays = {key: value for key, value in (arrays | changes).items() if value is not None}
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rewards": None}, "lacks rewards"),
        ({"frames": np.zeros((12, 9, 10, 3), np.uint8)}, r"expected uint8 \(t, 10, 10, 3\)"),
        ({"frames": np.zeros((12, 10, 10, 3))}, "is float64"),
        ({"actions": np.zeros(12, int)}, "'actions': 12.*expected 11 of each, one less than"),
        ({"actions": np.full(11, 3)}, "`actions` has 3; expected whole numbers from 0 to 2"),
        ({"actions": np.full(11, -1)}, "`actions` has -1"),
        ({"actions": np.zeros(11)}, "`actions` is float64"),
        ({"actions": np.zeros((11, 3), int)}, r"`actions` is int64 \(11, 3\)"),
        ({"rewards": np.where(np.arange(11) == 4, np.nan, 0)}, "`rewards` has nan at 4"),
        ({"rewards": np.array(["0"] * 11)}, "Cannot cast"),
        ({"ends": np.arange(11) == 4}, "`ends` is true at 4 of 11 .* a file of its own"),
        ({"ends": np.full(11, 0.3)}, "`ends` is float64 with 0.3 first; expected booleans"),
        ({"ends": np.array(["False"] * 11)}, "with False first; expected booleans"),
        ({"ends": np.full(11, 256)}, "`ends` is int64 with 256 first"),
        ({"ends": np.zeros((11, 2), bool)}, "reshape"),
        ({"frames": np.array([{}], dtype=object)}, "cannot be read"),
    ],
)
def test_a_rollout_that_does_not_fit_is_refused(
    tmp_path: Path, breakout_card: Card, changes: dict[str, Any], words: str
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError, match=words) as caught:
        peer.load(tmp_path, breakout_card)
    assert str(path) in str(caught.value)


def test_a_folder_without_rollouts_and_a_damaged_one_are_refused(
    tmp_path: Path, breakout_card: Card
) -> None:
    with pytest.raises(ConfigError, match=r"expected a folder with a \.npz file"):
        peer.load(tmp_path / "nowhere", breakout_card)
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ConfigError, match="cannot be read"):
        peer.load(tmp_path, breakout_card)
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(
        ConfigError, match="cannot be read: it holds a single array; write it again"
    ):
        peer.load(tmp_path, breakout_card)
    path = write(tmp_path)
    with np.load(path) as file:
        np.savez_compressed(path, **file)
    damaged = bytearray(path.read_bytes())
    damaged[70:100] = b"\xff" * 30
    path.write_bytes(bytes(damaged))
    with pytest.raises(ConfigError, match="cannot be read"):
        peer.load(tmp_path, breakout_card)
    write(tmp_path)
    with pytest.raises(ConfigError, match="11 transitions, 11 at most in a rollout; expected 8 pi"):
        peer.gather(tmp_path, breakout_card)


def arrays(count: int) -> dict[str, Any]:
    """Return a rollout of so many transitions of a black screen."""
    frames = np.zeros((count + 1, 10, 10, 3), np.uint8)
    return {
        "frames": frames,
        "actions": np.arange(count) % 3,
        "rewards": np.zeros(count),
        "ends": np.arange(count) == count - 1,
    }


def test_real_rollouts_are_cut_into_as_many_pieces_as_they_need(
    tmp_path: Path, breakout_card: Card
) -> None:
    """One real rollout of 128 transitions is enough, of 127 too little."""
    write(tmp_path, **arrays(64))
    write(tmp_path / "real", **arrays(128))
    _, pieces = peer.gather(tmp_path, breakout_card)
    assert [len(side) for side in (pieces.dream, pieces.real, pieces.again)] == [8, 8, 8]
    assert [piece.row for piece in pieces.again] == list(range(8))
    write(tmp_path / "real", **arrays(127))
    with pytest.raises(ConfigError, match=r"real has 127 transitions, .* expected 16 pieces of 8"):
        peer.gather(tmp_path, breakout_card)
    (tmp_path / "real" / "a.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ConfigError, match=r"real/a.npz cannot be read"):
        peer.gather(tmp_path, breakout_card)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the networks that compare plays for no time; they need the real game."""
    pytest.importorskip("minatar")
    monkeypatch.setattr(small_network, "LEAST_STEPS", 2)
    monkeypatch.setattr(small_network, "EPOCHS", 0)


@pytest.mark.usefixtures("hurried")
def test_without_real_rollouts_this_houses_players_play(
    tmp_path: Path, breakout_card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says so, and names each question that rollouts do not answer."""
    monkeypatch.setattr(plays, "STEPS", 320)
    write(tmp_path / "peer", **arrays(100))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"`out` is .*file'; expected a folder"):
        run.evaluate_peer("minatar-breakout-v0", tmp_path / "peer", tmp_path / "file")
    results = run.evaluate_peer("minatar-breakout-v0", tmp_path / "peer", tmp_path / "out")
    answered = {"legality", "inverse", "classifier", "occupancy", "objects"}
    assert results.keys() >= answered
    assert results["absent"].keys() == {q.NAME for q in run.QUESTIONS} - answered
    assert "this house's" in results["occupancy"]["players"]
    assert results["legality"]["dream"]["transitions"] == 100
    assert results["legality"]["real"]["illegal"] == 0 < results["legality"]["dream"]["illegal"]
    assert 320 <= results["legality"]["real"]["transitions"] // 2 < 340
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "this house" in page and "it takes the system itself" in page
    (tmp_path / "peer" / "real").write_text("no folder")
    with pytest.raises(ConfigError, match="real'; expected a folder"):
        peer.gather(tmp_path / "peer", breakout_card)


@pytest.mark.usefixtures("hurried")
def test_a_peers_dream_is_judged_by_the_same_questions(tmp_path: Path, breakout_card: Card) -> None:
    """Its dream is real play, once with and once without the ball."""
    ball = np.array(breakout_card.frames.palette[2], np.uint8)
    for name, seed in (("good", 1), ("bad", 1), ("real", 2)):
        folder = tmp_path / "peer" / "real" if name == "real" else tmp_path / name
        folder.mkdir(parents=True)
        for i, episode in enumerate(plays.play_real(breakout_card, 800, seed)):
            frames = episode.frames.copy()
            if name == "bad":
                frames[(frames == ball).all(-1)] = 0
            write(
                folder,
                f"{i:04d}",
                frames=frames,
                actions=episode.actions,
                rewards=episode.rewards,
                ends=episode.terminated,
            )
    results = {}
    for name in ("good", "bad"):
        (tmp_path / "peer" / "real").rename(tmp_path / name / "real")
        results[name], absent = peer.measure(tmp_path / name, breakout_card)
        (tmp_path / name / "real").rename(tmp_path / "peer" / "real")
        assert not absent
    good, bad = results["good"], results["bad"]
    assert good["legality"]["dream"]["illegal"] == 0 < bad["legality"]["dream"]["illegal"]
    assert {"classifier", "inverse", "objects"} < good.keys()
    gaps = [result["occupancy"]["dream"]["total_variation"] for result in (good, bad)]
    assert gaps[0] < gaps[1]


def test_two_ladders_stand_side_by_side() -> None:
    header = ("level", "question", "dream", "real", "copy", "verdict")
    one = Table(header, [["laws", "Rules?", "1.0", "0.0", "", "merit"]])
    rows = [
        ["pixels", "Right?", "0.9", "1.0", "", "flaw"],
        ["laws", "Rules?", "2", "0", "", "flaw"],
    ]
    table = comparison.beside(one, Table(header, rows), ("a", "b"))
    assert [row[1:] for row in table.rows] == [
        ["Right?", "", "0.9", "1.0", "-", "flaw"],
        ["Rules?", "1.0", "2", "0.0 | 0", "merit", "flaw"],
    ]
    newer = Table(header, [["laws", "Rules?", "3", NONE, "9", "flaw"]])
    (row,) = comparison.beside(newer, one, ("a", "b")).rows
    assert row[2:5] == ["3", "1.0", "0.0"]  # of whichever has a ceiling
    (row,) = comparison.beside(
        Table(header, [["laws", "Rules?", "3", "5", "", ""]]), one, ("a", "b")
    ).rows
    assert row[4] == "5 | 0.0"  # where they differ, each its own
    assert comparison.beside(newer, newer, ("a", "b")).rows[0][4] == NONE
    lines = comparison.lay_out(table).splitlines()
    assert len(lines) == 3 and lines[0].index("a ") == lines[2].index("1.0")


def test_what_was_not_measured_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a folder that `dfgym evaluate --out` wrote"):
        comparison.read(tmp_path)
    (tmp_path / "evaluation.json").write_text(json.dumps([1]))
    with pytest.raises(ConfigError, match=r"is no evaluation.json"):
        comparison.read(tmp_path)
    whole: dict[str, Any] = {
        "world": {"name": "a-v0"}, "settings": {"quick": True}, "verdict": {}, "absent": {}
    }  # fmt: skip
    for changes, words in (
        ({"world": 3}, "is no evaluation.json"),
        ({"settings": {}}, "does not say"),
        ({"chance": {"moments": 3}}, "whose answer to chance is damaged"),
        ({"legality": []}, "whose answer to legality is damaged"),
    ):
        (tmp_path / "evaluation.json").write_text(json.dumps(whole | changes))
        with pytest.raises(ConfigError, match=words):
            run.compare_worlds((tmp_path, tmp_path), tmp_path / "out")
    (tmp_path / "evaluation.json").write_text(json.dumps(whole))
    with pytest.raises(ConfigError, match="`out` is"):
        run.compare_worlds((tmp_path, tmp_path), tmp_path / "evaluation.json")


def test_two_answers_of_one_name_are_told_apart() -> None:
    quick, full = ({"world": {"name": "a-v0"}, "settings": {"quick": q}} for q in (True, False))
    places = [Path("old/evaluation"), Path("new/evaluation")]
    assert comparison.name_both(full, full, [Path("old"), Path("new/")]) == ("old", "new")
    assert comparison.name_both(full, full, places) == tuple(map(str, places))
    assert comparison.name_both(quick, full, [Path("x"), Path("y")]) == ("x (quick)", "y")


def test_things_that_do_not_persist_are_counted() -> None:
    """One white dot moves on, jumps, vanishes, comes back, and doubles."""
    white, size = (255, 255, 255), 20
    frames = np.zeros((7, size, size, 3), np.uint8)
    for t, dots in enumerate(([5], [6], [15], [], [3], [3], [3, 5])):
        for x in dots:
            frames[t, 8, x] = 255
    scenery = find_scenery(np.zeros((4, size, size, 3), np.uint8), ((0, 0, 0), white))
    nothing = np.zeros(6)
    episode = Episode(frames, nothing.astype(int), nothing, nothing > 0, 0, 0)
    rates = objects.count([episode], scenery)
    assert {name: round(rate * 6 / 1000) for name, rate in rates.items()} == {
        "vanish": 1,
        "appear": 1,
        "double": 1,
        "jump": 1,
    }
    still = [freeze(episode)]
    assert set(objects.count(still, scenery).values()) == {0}
    calm, wild = dict.fromkeys(objects.EVENTS, 1.0), {**rates, "jump": 300.0}
    result = {"players": "a player", "real": calm, "again": calm, "dream": wild}
    assert {finding.level for finding in objects.findings(result)} == {"fault"}
    assert objects.findings({**result, "dream": calm})[0].level == "merit"
    (older,) = objects.section(result).rungs
    assert older.real == "1.0 / 1.0 / 1.0" and older.copy == ""
    plays = Plays([episode], [episode], [episode], "a player")
    section = objects.section(objects.compare(plays, ((0, 0, 0), white)))
    assert section.rungs[0].copy == "0.0 / 0.0 / 0.0" != section.rungs[0].figure
    assert section.table is not None
    assert section.table.header[1:] == ["dream", "real", "real again", "copy"]
    section = objects.section(result)
    assert section.table is not None and len(section.table.rows) == 4
