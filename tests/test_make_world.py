"""One recipe makes a world from nothing; stages that are done are not done again."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dfgym import make_world, plan_world
from dfgym.actions import discrete
from dfgym.data.record import Recording
from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError, DataError, DfgymError, WorldError
from dfgym.evaluation.run import RESULTS, card_entries, evaluate, machine
from dfgym.evaluation.subject import Subject
from dfgym.train import launch
from dfgym.train.config import TrainConfig, from_table
from dfgym.train.loop import train
from dfgym.train.pack import Presentation, complete
from dfgym.train.recipe import load_recipe
from dfgym.train.survey import Survey
from dfgym.world import bundle
from dfgym.world.settings import Settings
from toys import walk as toy_walk
from toys.world import toy_card

RECIPE = """
[record]
env = "DFSource/MinAtar-Breakout-v0"
frames = 600
seed = 3
policies = {"scripted:0.1" = 0.8, random = 0.2}

[train]
steps = 3
image_steps = 1
batch = 2
length = 8
held_out = 0.2
strip_every = 0
checkpoint_every = 2
precision = "float32"

[train.model]
dim = 16
depth = 1
heads = 2
window = 3

[presentation]
observation_scale = 4
extra = "minatar"
keys = {a = 1, d = 2}
"""
SCORE = {"transitions": 10, "illegal_per_1000": 1.23456, "wrong_per_1000": 0.0, "sticky_share": 0.0}
REPORT = {
    "verdict": {"overall": "no fault was measured", "findings": []},
    "machine": {"cores": 2},
    "legality": {"dream": SCORE, "real": SCORE},
    "speed": {"single_steps_per_second": 123.456},
}


def train_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in this process what another would, which takes seconds to begin."""

    def run(command: list[str], *_: Any) -> None:
        file = Path(command[3])
        train(from_table(json.loads(file.read_text()), file.parent))

    monkeypatch.setattr(launch, "run_together", run)


def test_a_recipe_makes_a_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minatar")
    calls: list[Path] = []

    def measure(world: Path, out: Path, device: str, **keywords: Any) -> dict[str, Any]:
        bundle.load(world)
        calls.append(world)
        assert keywords == {"quick": False, "limit": None}
        return card_entries(REPORT)

    monkeypatch.setattr(make_world, "evaluate", measure)
    train_here(monkeypatch)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    config = make_world.Config(
        name="my-breakout-v0",
        out=tmp_path / "worlds",
        recipe=recipe,
        runs=tmp_path / "runs",
        processes=1,
        device="cpu",
    )
    world = bundle.load(make_world.make_world(config))
    assert len(calls) == 1
    assert world.card.name == "my-breakout-v0" and world.card.frames.observation_scale == 4
    assert world.card.model.dim == 16 and world.card.training["steps_done"] == 4
    assert world.card.measured["legality"]["illegal_per_1000"] == 1.235
    assert world.card.measured["verdict"] == "no fault was measured"
    assert set(world.card.measured["seconds"]) == {"record", "train", "evaluate"}
    run = tmp_path / "runs" / "my-breakout-v0"
    assert len((run / "train" / "log.jsonl").read_text().splitlines()) == 4
    settings = json.loads((run / "train" / "config.json").read_text())
    assert settings["strip_every"] == 0 and settings["checkpoint_every"] == 2
    json.loads((run / "times.json").read_text())

    with pytest.raises(WorldError, match="never change"):
        make_world.make_world(config)

    # It was stopped before it was published, and its presentation has changed since.
    shutil.rmtree(config.out)
    recipe.write_text(RECIPE.replace("observation_scale = 4", "observation_scale = 3"))
    assert bundle.load(make_world.make_world(config)).card.frames.observation_scale == 3

    # An action that the game does not have raises an error before it trains.
    shutil.rmtree(config.out)
    shutil.rmtree(run / "train")
    recipe.write_text(RECIPE.replace("d = 2", "d = 7"))
    with pytest.raises(WorldError, match=r"keys.d is 7; expected an action, 0 to 2"):
        make_world.make_world(config)
    assert not (run / "train").exists()


def test_a_card_can_hold_the_machine(tmp_path: Path, random_world: Path) -> None:
    entries = {"machine": machine(Subject(bundle.load(random_world), tmp_path, Settings("cpu")))}
    folder = make_world.publish(random_world, tmp_path / "toy-v0", entries, {})
    assert bundle.load(folder).card.measured["machine"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("result", "trouble"), [(False, "stopped after 90 s"), (DfgymError("no"), "failed")]
)
def test_an_evaluation_that_fails_or_lasts_leaves_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: Any, trouble: str
) -> None:
    out = tmp_path / "report"
    out.mkdir()
    (out / RESULTS).write_text("of an earlier evaluation")
    report: dict[str, Any] = {}

    def run(command: list[str], environments: Any, purpose: str, limit: float) -> bool:
        assert command[3:5] == ["evaluate", "world"] and "--quick" in command and limit == 90
        if report:
            (out / RESULTS).write_text(json.dumps(report))
        if isinstance(result, bool):
            return result
        raise result

    monkeypatch.setattr(make_world, "run_together", run)

    def measured() -> dict[str, Any]:
        return make_world.evaluate(Path("world"), out, "cpu", quick=True, limit=90)

    assert measured() == {"verdict": "not evaluated", "evaluation": trouble}
    report |= REPORT | {"absent": {"horizon": "no time", "drift": "no time"}}
    entries = measured()
    assert entries["evaluation"] == f"{trouble}; not measured: horizon, drift"
    assert entries["legality"]["transitions"] == 10
    result = True
    assert measured() == card_entries(REPORT)


def test_a_question_that_fails_leaves_the_answers_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_world: Path
) -> None:
    pytest.importorskip("minatar")
    answer = {"transitions": 10}

    def question(name: str, measure: Any) -> SimpleNamespace:
        return SimpleNamespace(NAME=name, measure=measure, findings=lambda result: [])

    def fail(subject: Subject) -> None:
        raise ZeroDivisionError

    questions = [question("first", lambda subject: answer), *map(question, "ab", [fail, fail])]
    monkeypatch.setattr("dfgym.evaluation.run.QUESTIONS", questions)
    with pytest.raises(ZeroDivisionError):
        evaluate(random_world, tmp_path, quick=True)
    report = json.loads((tmp_path / RESULTS).read_text())
    assert report["first"] == answer and list(report["absent"]) == ["a", "b"]
    assert "nothing was tested of a, b" in report["verdict"]["findings"][0][1]


def test_what_lasts_too_long_is_stopped() -> None:
    begin = time.monotonic()
    sleep = [sys.executable, "-c", "import time; time.sleep(30)"]
    assert not launch.run_together(sleep, [dict(os.environ)], "sleeping", 0.3)
    assert time.monotonic() - begin < 10
    assert launch.run_together([sys.executable, "-c", ""], [dict(os.environ)], "nothing", 30)


def test_evaluate_makes_its_folder_before_it_measures(tmp_path: Path, random_world: Path) -> None:
    pytest.importorskip("minatar")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"`out` is .*file/x'; expected a folder"):
        evaluate(random_world, tmp_path / "file" / "x", quick=True)


def test_mistakes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for name, error, message in [
        ("Bad", WorldError, "cannot be named"),
        ("unknown-game-v0", ConfigError, "recipe is 'unknown-game-v0'; allowed are"),
        ("minatar-breakout-v0", ConfigError, "processes is -1"),
    ]:
        with pytest.raises(error, match=message):
            make_world.make_world(
                make_world.Config(name=name, out=tmp_path / "w", runs=tmp_path / "r", processes=-1)
            )
    assert not list(tmp_path.iterdir())


def test_a_recipe_that_cannot_be_followed_is_refused_before_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(*_: Any) -> None:
        pytest.fail("it was recorded")

    monkeypatch.setattr(make_world, "record", record)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    with pytest.raises(ConfigError, match="rounds is 0; expected int >= 1"):
        planned(tmp_path, recipe=recipe, game=plan_world.Game(), rounds=0)
    twice = planned(tmp_path, recipe=recipe, game=plan_world.Game(), rounds=2)
    with pytest.raises(ConfigError, match=r"rounds is 2; .* give it minutes to share"):
        make_world.make_world(twice)
    recipe.write_text(RECIPE.replace("length = 8", "length = 3"))
    with pytest.raises(ConfigError, match=r"length is 3 and model.window 3; expected"):
        make_world.make_world(dataclasses.replace(twice, rounds=1))


def test_a_recipe_s_dials_are_checked_on_the_first_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.toml"
    config = planned(tmp_path, recipe=recipe, game=plan_world.Game())
    for right, wrong, message in (
        ("dim = 16", "dim = 16\npatch = 3", "patch is 3; expected a divisor"),
        ("batch = 2", f"batch = {4 * 10**9}", "batch is 4000000000 .* the largest batch that fits"),
    ):
        recipe.write_text(RECIPE.replace(right, wrong))
        with pytest.raises(ConfigError, match=message):
            make_world.make_world(config)
        assert len(EpisodeStore.open(config.runs / config.name / "data")) == 2


def test_the_first_frames_tell_what_all_would_be_refused_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another size or colour than those of the world to begin with, or a size that is not cut."""
    monkeypatch.setattr(plan_world, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(plan_world, "LEAST_FRAMES", 100)
    card = toy_card()
    monkeypatch.setattr(plan_world.shelf, "card", lambda name: card)
    size = (card.frames.height, card.frames.width)
    for resize, begin, message in (
        ((37, 53), "", r"resize is 37 53, which no network .*: --resize 32 48"),
        ((8, 12), "toy", "whose frames are"),
        (size, "toy", "which has no colours like"),
    ):
        game = plan_world.Game("toys.catch:toys/Catch-v0", 1.0, resize=resize, from_world=begin)
        budget, run = plan_world.Budget(60, time.monotonic()), tmp_path / "run"
        with pytest.raises(ConfigError, match=message):
            plan_world.plan(game, budget, run, torch.device("cpu"), 1)
        assert not (run / "data").exists()


def test_damaged_times_are_named(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    for text in ("{", "[]", '{"record": "x"}', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(DataError, match=r"times.json holds no times .*; remove it"):
            make_world._Clock(path)
    path.write_text('{"record": 3}')
    assert make_world._Clock(path).seconds == {"record": 3}


def test_children_use_the_cores_that_are_ours_and_not_the_folder_s_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "available_cores", lambda: 1)
    assert launch.count_processes(None, 16, torch.device("cpu")) == 1
    (tmp_path / "random.py").write_text("x = 1")
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    config = load_recipe(recipe).train
    with pytest.raises(DfgymError, match="training failed"):  # for want of data alone
        launch.launch(
            dataclasses.replace(config, data=(tmp_path / "none",), out=tmp_path / "run"), 1
        )
    assert "none is not a data set: no such folder" in capfd.readouterr().err


def quiet_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the evaluation take no time."""

    def measure(world: Path, out: Path, device: str, **keywords: Any) -> dict[str, Any]:
        assert keywords["quick"], "a planned world is evaluated quickly"
        assert keywords["limit"] >= make_world.PATIENCE * make_world.QUICK_SECONDS
        bundle.load(world)
        return card_entries(REPORT)

    monkeypatch.setattr(make_world, "evaluate", measure)
    monkeypatch.setattr(plan_world, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(plan_world, "LEAST_FRAMES", 500)


def planned(tmp_path: Path, minutes: float = 0.2, **changes: Any) -> make_world.Config:
    """Return the command of a world of the toy game, which needs nothing else."""
    fields: dict[str, Any] = {
        "name": "toy-catch-v0",
        "out": tmp_path / "worlds",
        "runs": tmp_path / "runs",
        "device": "cpu",
        "game": plan_world.Game(env="toys.catch:toys/Catch-v0", minutes=minutes),
    }
    return make_world.Config(**(fields | changes))


@pytest.mark.slow
def test_an_id_and_a_time_make_a_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet_evaluation(monkeypatch)
    train_here(monkeypatch)
    config = planned(tmp_path, minutes=0.1)
    world = bundle.load(make_world.make_world(config))
    printed = capsys.readouterr().out
    run = tmp_path / "runs" / "toy-catch-v0"
    for text in ("learned as a palette", "plan: ", "tokens a frame", str(run / "recipe.toml")):
        assert text in printed
    assert world.card.frames.palette and world.card.training["steps_done"] >= 1
    assert list((run / "train" / "strips").glob("*.png"))
    height = world.card.frames.height * world.card.frames.observation_scale
    assert 40 <= height < 40 + world.card.frames.height
    assert world.card.training["seconds"] > 1
    recipe = load_recipe(run / "recipe.toml")
    assert recipe.record.env == "toys.catch:toys/Catch-v0" and recipe.train.minutes > 0

    shutil.rmtree(config.out)  # it was stopped before the end, and is given more time
    longer = planned(tmp_path, minutes=0.2)
    again = bundle.load(make_world.make_world(longer))
    assert again.card.training["seconds"] > world.card.training["seconds"]
    assert again.card.training["steps_done"] >= world.card.training["steps_done"]
    assert "plan: " not in capsys.readouterr().out

    shutil.rmtree(config.out)
    for wanted, name in (
        ({"env": "CartPole-v1"}, "env"),
        ({"from_world": "toy-walk-v0"}, "from_world"),
        ({"wrapper": ("toys.catch:Negative",)}, "wrappers"),
    ):
        game = dataclasses.replace(config.game, **wanted)
        with pytest.raises(ConfigError, match=f"is a plan whose {name} is .* remove that folder"):
            make_world.make_world(planned(tmp_path, game=game))


def test_with_a_recipe_minutes_count_from_the_first_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings: list[TrainConfig] = []

    def train(config: TrainConfig, *_: Any) -> Path:
        trainings.append(config)
        raise DfgymError("enough")

    for name in ("record", "survey_run", "check_dials", "check_new", "draft_card"):
        monkeypatch.setattr(make_world, name, lambda *_, **__: None)
    monkeypatch.setattr(make_world, "train_rounds", train)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    for minutes in (0.0, 10.0):
        config = planned(tmp_path, recipe=recipe, game=plan_world.Game(minutes=minutes))
        with pytest.raises(DfgymError, match="enough"):
            make_world.make_world(config)
    by_steps, by_the_clock = trainings
    assert (by_steps.steps, by_steps.minutes) == (3, 0)
    evaluation = make_world.FULL_SECONDS / 60
    assert by_the_clock.steps == 0 and 9 - evaluation < by_the_clock.minutes < 10 - evaluation


def test_a_recipe_and_a_game_are_one_too_many(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    with pytest.raises(ConfigError, match=r"recipe is .* and env 'toys.catch.*; give one of them"):
        make_world.make_world(planned(tmp_path, recipe=recipe))
    for flag in ({"from_world": "toy-v0"}, {"resize": (8, 8)}, {"policies": {"random": 1.0}}):
        with pytest.raises(ConfigError, match=f"{next(iter(flag))} is .* and a recipe is followed"):
            make_world.make_world(planned(tmp_path, recipe=recipe, game=plan_world.Game(**flag)))
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError, match="env-kwargs is '5'; expected a JSON object"):
        plan_world.Game(env="CartPole-v1", env_kwargs="5").recording()
    with pytest.raises(ConfigError, match="minutes is -1"):
        plan_world.Game(minutes=-1.0)


def test_the_recording_fits_the_time_and_the_disk(tmp_path: Path) -> None:
    store = toy_walk.EpisodeStore.open(toy_walk.record(tmp_path / "walk", episodes=2))
    count = plan_world._count_frames
    assert count(1e9, 3600, store) == plan_world.MOST_FRAMES
    assert count(100, 3600, store) == 100 * 360
    assert count(1, 60, store) == plan_world.LEAST_FRAMES
    store.meta["frame_shape"] = [512, 512, 3]
    assert count(1e9, 3600, store) * 512 * 512 * 3 <= plan_world.MOST_BYTES


def test_a_slow_evaluation_leaves_a_fifth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    budget = plan_world.Budget(600, 100.0, spent=50)
    now[0] = 150.0
    assert budget.rest == 500
    assert plan_world.train_seconds(budget, 40) == 460
    assert plan_world.train_seconds(budget, 40, trained=30) == 490
    assert plan_world.train_seconds(budget, 490) == 120


def test_what_is_left_open_is_filled_from_the_recording() -> None:
    space = dataclasses.replace(discrete(5), meanings=("noop", "LEFT", "right", "Fire", "shoot"))
    game = Survey((10, 12, 3), space, (), (0.0,))
    meta = {"env": "ALE/Pong-v5", "max_steps": 77}
    filled = complete(Presentation(), game, meta)
    assert filled.keys == {"a": 1, "d": 2, "space": 3}
    assert filled.observation_scale == 4 and filled.max_steps == 77
    assert filled.description == "ALE/Pong-v5, learned from recorded play."
    own = Presentation("Mine.", 2, 5, {"x": 1})
    assert complete(own, game, meta) == own
    assert complete(Presentation(), Survey((64, 64, 3), space, (), (0.0,)), {}).max_steps == 1000


def test_scripted_players_record_the_games_that_they_know() -> None:
    assert plan_world.can_play(Recording("DFSource/MinAtar-Breakout-v0", 2))
    assert not plan_world.can_play(Recording("FrozenLake-v1", 2))
