"""The study: every row runs, its measures mean what they say, and a cache is what was asked."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dfgym.errors import ConfigError, DataError
from dfgym.files import plain
from dfgym.study import blocks, games, survival
from dfgym.study.blocks import RolloutSpec
from dfgym.study.chunks import border_errors
from dfgym.study.command import CLAIMS, Config, choose_claims, study
from dfgym.study.curve import Curve
from dfgym.study.games import QUICK
from dfgym.study.reaction import react
from dfgym.study.runner import StudyRunner, chunked
from dfgym.study.write import SUBJECTS, compare, format_doubling, subject_of
from dfgym.world import shelf
from dfgym.world.bundle import World
from toys.world import toy_weights

pytestmark = pytest.mark.slow  # one quick run of the whole study serves all of them


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The whole quick study: where it wrote, and what it works with."""
    folder = tmp_path_factory.mktemp("study")
    study(Config(all=True, quick=True, out=folder / "out", runs=folder / "runs"))
    return folder / "out", folder / "runs"


def curve(error: list[float], rows: list[tuple[float, float]] | None = None) -> Curve:
    values, sums = np.array(error), np.array(rows or [(sum(error), len(error))])
    return Curve(values, values * np.nan, np.ones(len(values)), sums, 0.0, 0.0)


def test_every_claim_gets_numbers_a_figure_and_a_section(done: tuple[Path, Path]) -> None:
    out, _ = done
    page = (out / "README.md").read_text()
    assert sorted(claim.row for claim in CLAIMS) == sorted(
        [*(f"D{n}" for n in range(3, 15)), *["D15"] * 10, "D17", "clocks", "steps", "long"]
    )
    assert {subject_of(claim.name) for claim in CLAIMS} == {*SUBJECTS}
    for name, row, *_ in CLAIMS:
        finding = json.loads((out / f"{name}.json").read_text())
        assert finding["numbers"] and finding["row"] == row
        assert finding["command"] == f"dfgym study {name} --quick"
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"### {finding['title']}\n" in page and finding["text"] in page
        assert f"| {finding['result']} | {row} |" in page, "the table at the top"
    assert page.index("## Objectives") < page.index("### Teacher forcing") < page.index("## Chunks")


def test_the_page_holds_findings_of_one_scale(done: tuple[Path, Path], tmp_path: Path) -> None:
    old = json.loads((done[0] / "chunks.json").read_text())
    (tmp_path / "chunks.json").write_text(json.dumps({**old, "scale": {}}))
    before = (done[0] / "objectives-full-sequence.json").read_text()
    (tmp_path / "objectives-full-sequence.json").write_text(before)
    study(Config(subject="D4", quick=True, out=tmp_path, runs=done[1]))
    page = (tmp_path / "README.md").read_text()
    assert "### Teacher forcing" in page and "### Full-sequence" in page and "## Chunks" not in page


def test_a_row_may_be_written_small() -> None:
    (claim, _), *others = choose_claims(Config(subject="d13"))
    assert claim.row == "D13" and not others


def test_a_subject_is_all_its_claims_and_a_row_is_one() -> None:
    def names(subject: str, **changes: Any) -> list[str]:
        return [claim.name for claim, _ in choose_claims(Config(subject=subject, **changes))]

    contexts = ["contexts-told-noisy", "contexts-noised", "contexts-comparison"]
    assert names("contexts") == contexts
    assert names("D13") == names("contexts-comparison") == contexts[2:]
    assert names("schedules", games=("cartpole",)) == ["schedules-reaction"]


def test_what_is_measured_is_kept(done: tuple[Path, Path], tmp_path: Path) -> None:
    out, runs = done
    before = sorted(runs.rglob("measured/**/*.json"))
    times = [path.stat().st_mtime_ns for path in before]
    study(Config(subject="D4", quick=True, out=tmp_path, runs=runs))
    assert [path.stat().st_mtime_ns for path in before] == times
    first, second = (
        json.loads((p / "objectives-teacher-forcing.json").read_text()) for p in (out, tmp_path)
    )
    assert first == second


def test_only_the_game_that_is_asked_for(done: tuple[Path, Path], tmp_path: Path) -> None:
    study(Config(subject="D4", quick=True, games=("cartpole",), out=tmp_path, runs=done[1]))
    finding = json.loads((tmp_path / "objectives-teacher-forcing.json").read_text())
    assert list(finding["numbers"]) == ["cartpole"] and "--games cartpole" in finding["command"]


def test_the_committed_page_is_made_from_the_committed_numbers(tmp_path: Path) -> None:
    committed = Path(__file__).parents[2] / "docs" / "study"
    for path in committed.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    study(Config(page=True, out=tmp_path))
    page = (committed / "README.md").read_text()
    assert (tmp_path / "README.md").read_text() == page, "run `dfgym study --page`"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"page": True, "subject": "D4"}, "--page is of everything in `out`; leave out"),
        (
            {"subject": "D2"},
            "the subject is 'D2'; allowed are backbones, .*, guidance-action, .*, D3, D4, D5, D6",
        ),
        ({}, "give either one subject"),
        ({"subject": "D4", "all": True}, "give either one subject"),
        ({"subject": "D3", "games": ("cartpole",)}, "are cartpole; D3 is tried on breakout"),
    ],
)
def test_what_cannot_be_tried_is_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        study(Config(**changes))  # type: ignore[arg-type]


def test_a_cached_model_of_another_version_is_refused(done: tuple[Path, Path]) -> None:
    changed = {**QUICK.settings["breakout"], "steps": 9}
    other = dataclasses.replace(QUICK, settings={**QUICK.settings, "breakout": changed})
    with pytest.raises(DataError, match=r"another version .* remove that folder"):
        StudyRunner(done[1] / "quick", other).model("breakout", "diffusion forcing")


def test_a_cached_model_of_other_data_is_refused(done: tuple[Path, Path]) -> None:
    runner = StudyRunner(done[1] / "quick", QUICK)
    path = done[1] / "quick" / "breakout" / "data" / "episodes.jsonl"
    index = path.with_name("index.json")  # which another recording would have of its own
    before, index_before = path.read_text(), index.read_text()
    index.unlink()
    path.write_text(before.replace('"seed": ', '"seed": 1', 1))
    with pytest.raises(DataError, match="was trained on other data"):
        runner.model("breakout", "diffusion forcing")
    path.write_text(before)
    index.write_text(index_before)
    runner.model("breakout", "diffusion forcing")


def test_means_and_doubling_of_known_curves() -> None:
    grows = curve([1.0] * 100 + [3.0] * 100)
    # 64 steps that err more than twice as much on average: 31 of them may still err 1.
    assert grows.doubles() == 100 - 31 and curve([1.0, 2.0] * 80).doubles() is None
    assert curve([0.0] * 100 + [3.0] * 100).doubles() is None, "no error to double"
    assert grows.at(10) == 1 and grows.at(200) == 3 and math.isnan(curve([math.nan]).at(1))
    sparse = dataclasses.replace(curve([1.0, math.nan, 4.0]), weight=np.array([1.0, 0.0, 2.0]))
    assert sparse.at(3, 3) == 3 and sparse.at(2, 2) == 1
    rows = curve([0.0], [(1.0, 4), (3.0, 4)])
    assert rows.mean == 0.5 and rows.interval == (0.25, 0.75)


def test_words_for_curves() -> None:
    near, far = curve([0.0], [(1.0, 4), (3.0, 4)]), curve([0.0], [(8.0, 4), (9.0, 4)])
    assert compare(far, near) == "more errors" and compare(near, far) == "fewer errors"
    assert compare(near, near) == "no significant difference"
    assert format_doubling(curve([1.0] + [3.0] * 200)) == "never"
    assert format_doubling(curve([0.0] * 200)) == "-"
    assert format_doubling(curve([1.0] * 100 + [3.0] * 100)) == "after 69 frames"


def test_borders_are_the_first_frames_of_chunks() -> None:
    assert border_errors(curve([5.0, 1.0, 1.0, 5.0, 1.0, 1.0]), 3) == (5.0, 1.0)
    assert border_errors(curve([2.0, 2.0]), 1) == (2.0, None)


def test_a_late_schedule_does_not_obey_and_ours_does(done: tuple[Path, Path]) -> None:
    runner = StudyRunner(done[1] / "quick", QUICK)
    ours, full = runner.model("breakout", "diffusion forcing"), runner.model("breakout", chunked(2))
    # A network of a few steps may draw one picture whatever is played; random weights do not.
    world = dataclasses.replace(ours.world, weights=toy_weights(ours.world.card))
    played = react(ours._replace(world=world), RolloutSpec("autoregressive", new=2))
    assert played.first > 0.5 and played.delay == 0
    for name in ("hierarchical:2", "full_sequence"):
        reaction = react(full, RolloutSpec(name, new=2, num_context=2, causal=False))
        assert reaction.effect == reaction.first == 0 and reaction.delay > 0


def test_blocks_of_one_frame_are_the_frames_of_the_environment(done: tuple[Path, Path]) -> None:
    # The same model from the same past and noise, once through the cache, once seen whole.
    runner = StudyRunner(done[1] / "quick", QUICK)
    model = runner.model("breakout", "diffusion forcing")
    world = model.world
    window = world.card.model.window
    frames, actions = blocks.context(world, np.random.default_rng(0), window)
    key = 5
    dynamics = blocks.Dynamics(world, 1)
    dynamics.reset(np.zeros(1, np.int64), np.array([key]), [(frames, actions)])
    stepped = dynamics.step(np.array([1])).frames
    codec = blocks.Codec(world.card.frames.palette)
    clean = codec.encode(torch.from_numpy(frames))[None]
    actions_in = torch.tensor([[world.card.actions.n, *map(int, actions), 1]])
    with torch.inference_mode():  # the environment's noise is of its frame count
        frames_made = blocks.block(
            model,
            RolloutSpec(),
            clean,
            actions_in[None],
            torch.tensor([key]),
            torch.tensor([window]),
        )
    assert np.array_equal(codec.decode(frames_made)[0].numpy(), stepped)


@pytest.mark.parametrize("name", ["diffusion forcing", chunked(1)])
def test_play_counts_every_transition_once(done: tuple[Path, Path], name: str) -> None:
    runner = StudyRunner(done[1] / "quick", QUICK)
    spec = (
        RolloutSpec("full_sequence", new=3, num_context=1, causal=False)
        if name == chunked(1)
        else RolloutSpec()
    )
    episodes = blocks.play(runner.model("breakout", name), spec, rows=2, horizon=7, seed=0)
    played = [sum(len(e) for e in episodes if e.row == row) for row in range(2)]
    assert played == [7, 7]
    assert all(len(e.frames) == len(e) + 1 and e.terminated[:-1].sum() == 0 for e in episodes)


def test_breakout_is_judged_by_its_rules_and_cartpole_by_its_drawing() -> None:
    noise = np.random.default_rng(0).integers(256, size=(3, 64, 64, 3), dtype=np.uint8)
    episode = blocks.Episode(
        noise, np.zeros(2, np.int64), np.zeros(2), np.zeros(2, bool), row=0, seed=0
    )
    assert games.judge("cartpole", episode).error.min() > 50
    colours = np.array(shelf.load("minatar-breakout-v0").card.frames.palette, np.uint8)
    lawless = colours[noise[:, :10, :10, 0] % len(colours)]
    small = dataclasses.replace(episode, frames=lawless)
    judged = games.judge("breakout", small)
    assert judged.error.tolist() == [1, 1] and np.isnan(judged.detail).all()


def test_json_has_no_nan() -> None:
    assert plain({"a": [math.nan, np.float64(0.123456)], "b": np.int64(3)}) == {
        "a": [None, 0.1235],
        "b": 3,
    }


def test_what_survives_of_an_error(
    done: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A game that repeats its last frame keeps all of an error, one that is drawn anew none."""
    world = StudyRunner(done[1] / "quick", QUICK).model("cartpole", "diffusion forcing").world

    class Fixed:
        copies = True

        def __init__(self, world: World, rows: int) -> None:
            self.rows = rows

        def reset(self, rows: np.ndarray, seeds: np.ndarray, contexts: Any) -> None:
            self.last = np.stack([frames[-1] for frames, _ in contexts])

        def step(self, actions: np.ndarray) -> Any:
            return SimpleNamespace(frames=self.last if self.copies else 0 * self.last)

    monkeypatch.setattr(survival, "Dynamics", Fixed)
    assert survival.survival(world, 20.0) == pytest.approx(1, abs=0.02)
    monkeypatch.setattr(Fixed, "copies", False)
    assert survival.survival(world, 20.0) == pytest.approx(0)
