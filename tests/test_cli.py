"""The command line and the demo: what they print, what they refuse, and that they load late."""

from __future__ import annotations

import io
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dfgym
from dfgym import cli, demo
from dfgym.data.cluster import Cluster
from dfgym.env import real
from dfgym.errors import MissingPackageError
from dfgym.world.settings import Settings
from dfgym.world.shelf import VARIABLE
from toys import fresh
from toys.game import DREAM, NAME

COMMANDS = (
    "worlds",
    "record",
    "import",
    "export-data",
    "verify",
    "survey",
    "train",
    "pack",
    "make-world",
    "push",
    "pull",
    "play",
    "watch",
    "evaluate",
    "contact-sheet",
    "export",
    "bench",
    "study",
    "demo",
)


@pytest.fixture
def shelf(toy_ids: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy world, on the shelf."""
    monkeypatch.setenv(VARIABLE, str(toy_ids.parent))
    return toy_ids


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail: code 2, one line on stderr, which is returned."""
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("dfgym: error: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if line[:2] == "  "] == [*COMMANDS]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: dfgym {command}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == dfgym.__version__


def test_worlds_lists_the_shelf_without_torch(shelf: Path) -> None:
    script = (
        "import sys; from dfgym.cli import main; code = main(['worlds'])\n"
        "assert 'torch' not in sys.modules and 'stable_baselines3' not in sys.modules\n"
        "sys.exit(code)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    row = next(line for line in ran.stdout.splitlines() if line.startswith(NAME)).split()
    weights = sum(weight.numel() for weight in dfgym.world.bundle.load(shelf).weights.values())
    assert row == [NAME, "DFSource/MinAtar-Breakout-v0", "40x40", "3", f"{weights:,}"]


def test_measured_numbers_are_listed_under_their_world() -> None:
    measured = {"transfer": {"dream": 12.34567, "seeds": 3}, "by": "hand"}
    assert dict(cli._flat(measured)) == {
        "transfer.dream": "12.35",
        "transfer.seeds": "3",
        "by": "hand",
    }


def test_a_broken_world_is_one_line_and_the_rest_is_listed(
    shelf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken-v0").mkdir()
    (tmp_path / "broken-v0" / "world.toml").write_text("format = [\n")
    (tmp_path / "linked-v0").symlink_to(shelf)
    shutil.copytree(shelf, tmp_path / "weightless" / NAME)
    (tmp_path / "weightless" / NAME / "weights.safetensors").unlink()
    for folders, texts in (
        (f"{tmp_path}:{shelf.parent}", ["broken-v0/world.toml", "linked-v0 is a link"]),
        (f"/{300 * 'x'}:{shelf.parent}", ["File name too long"]),
        (f"{tmp_path / 'weightless'}", ["weights.safetensors"]),
    ):
        monkeypatch.setenv(VARIABLE, folders)
        assert cli.main(["worlds"]) == 2
        printed, errors = capsys.readouterr()
        for line, text in zip(errors.splitlines(), texts, strict=True):
            assert line.startswith("dfgym: error: ") and text in line
        assert (NAME in printed) == ("weightless" not in folders)
        assert "minatar-breakout-v0" in printed


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["dream"], "'dream'"),
        (["bench", "nowhere-v0"], "nowhere-v0"),
        (["evaluate", "Nowhere"], "Nowhere"),
        (["record", "Nowhere-v0", "data"], "Nowhere"),
        (["record", "CartPole-v1", "data", "--env-kwargs", "{"], "JSON"),
        (["record", "CartPole-v1", "data", "--env-kwargs", "[1]"], "JSON object"),
        (["record", "CartPole-v1", "data", "--env-kwargs", 100_000 * "["], "JSON"),
        (["record", "CartPole-v1", "a\0b"], "NUL"),
        (["record", "DFSource/MinAtar-Breakout-v0", "/dev/null/data"], "'/dev/null/data': Not a d"),
        (["pack", "nowhere", "world", "--name", "Bad"], "Bad"),
        (["train", "--data", "nowhere", "--out", "run"], "nowhere"),
    ],
)
def test_mistakes_are_reported_in_one_line(
    arguments: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert text in error_of(capsys, *arguments)
    assert not [*tmp_path.iterdir()]  # nothing was written


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--minutes", "0"],
        ["demo", "--minutes", "nan"],
        ["demo", "--seed", "-1"],
        ["bench", "--nope"],
    ],
)
def test_wrong_flags_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: Any = cli.main(arguments)  # older releases of tyro let a value's error through
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("exception", "code", "text"),
    [
        (PermissionError(13, "Permission denied", "/x"), 2, "error: '/x': Permission denied"),
        (OSError(28, "No space left on device"), 2, "error: No space left on device"),
        (OSError("odd"), 2, "error: odd"),
        (KeyboardInterrupt(), 130, "stopped; the same command continues"),
    ],
)
def test_what_a_machine_or_its_user_does_is_no_traceback(
    exception: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(read: Any) -> None:
        raise exception

    monkeypatch.setitem(cli.COMMANDS, "train", ("", broken))
    assert cli.main(["train"]) == code
    assert capsys.readouterr().err.strip() == f"dfgym: {text}"


def test_only_a_command_that_can_continue_announces_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(read: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "bench", ("", stopped))
    assert cli.main(["bench"]) == 130
    assert capsys.readouterr().err.strip() == "dfgym: stopped"


def test_as_a_program_it_exits_with_the_code() -> None:
    program = "import runpy; runpy.run_module('dfgym.cli', run_name='__main__', alter_sys=True)"
    ran = fresh.run(program, "bench", "Bad")
    assert ran.returncode == 2
    assert ran.stderr.startswith("dfgym: error: ") and ran.stderr.count("\n") == 1


def test_a_command_gives_the_same_warning_once() -> None:
    log, handler = logging.Logger("a command"), logging.StreamHandler(text := io.StringIO())
    handler.addFilter(cli.each_once())
    log.addHandler(handler)
    for game in ("Pong", "Doom", "Pong"):
        log.warning("%s: frames are rendered", game)
    lines = text.getvalue().splitlines()
    assert lines == ["Pong: frames are rendered", "Doom: frames are rendered"]


def test_record_writes_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    mix = ["--policies", "random", "0.5", "scripted:0.1", "0.5"]
    game = ["DFSource/MinAtar-Breakout-v0", str(out), "--frames", "50"]
    keywords = ["--env-kwargs", '{"sticky_action_prob": 0.0}']
    assert cli.main(["record", *game, *mix, *keywords]) == 0
    assert str(out) in capsys.readouterr().out
    assert (out / "meta.json").is_file()


def test_flags_reach_the_evaluation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dfgym.evaluation import command

    calls: list[Any] = []
    monkeypatch.setattr(command, "evaluate", lambda *args, **kw: calls.append((args, kw)))
    flags = ["--quick", "--denoising-steps", "3", "--rungs", "legality", "odds", "--seed", "4"]
    assert cli.main(["evaluate", NAME, "--out", "x", *flags]) == 0
    expected = {"quick": True, "settings": Settings("auto", 3), "rungs": ("legality", "odds")}
    assert calls == [((NAME, Path("x")), expected | {"seed": 4, "cluster": None})]
    assert cli.main(["evaluate", NAME, "--ray", "local", "--processes", "3"]) == 0
    assert calls[1][1]["cluster"] == Cluster("local", 3)
    with pytest.raises(SystemExit):
        cli.main(["evaluate", NAME, "--rungs"])
    assert "rungs has nothing after it; name one or more" in capsys.readouterr().err


# --- the demo ---


@pytest.fixture
def small_demo(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "WORLD", NAME)
    monkeypatch.setattr(demo, "EPISODES", 4)
    monkeypatch.setattr(demo, "FILM_STEPS", 20)


@pytest.mark.usefixtures("small_demo")
def test_the_demo_trains_in_nothing_but_the_dream_and_plays_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configs: list[demo.ppo.Config] = []
    original = demo.ppo.train

    def train(config: demo.ppo.Config) -> Path:
        configs.append(config)
        return original(config)

    monkeypatch.setattr(demo.ppo, "train", train)
    command = ["demo", "--minutes", "0.01", "--seed", "5", "--out", str(tmp_path)]
    assert cli.main(command) == 0
    assert [(config.env, config.seed) for config in configs] == [(DREAM, 5)]
    printed = capsys.readouterr().out
    assert (tmp_path / "demo.gif").read_bytes().startswith(b"GIF89a")
    assert (tmp_path / "agent.zip").is_file()
    assert str(tmp_path / "demo.gif") in printed
    lines = printed.splitlines()
    heads = next(line for line in lines if "real game" in line and "dream" in line)
    assert heads.index("dream") < heads.index("real game")
    for player in ("random", "this agent"):
        assert next(line for line in lines if line.startswith(player)).count(" to ") == 2


@pytest.mark.usefixtures("small_demo")
def test_the_demo_without_the_real_game_prints_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object) -> None:
        raise MissingPackageError("no module named minatar")

    monkeypatch.setattr(real, "open_source", missing)
    scores = demo.demo(demo.Config(minutes=0.01, out=tmp_path))
    printed = capsys.readouterr().out
    assert 'pip install "dfgym[minatar]"' in printed
    assert {name: [*row] for name, row in scores.items()} == {
        "random": ["dream"],
        "this agent": ["dream"],
    }
    assert (tmp_path / "demo.gif").is_file()
