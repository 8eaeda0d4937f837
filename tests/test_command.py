"""What every command does in a shell: pipes that close, names that cannot be spelled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfgym import cli
from dfgym.agents import evaluate, ppo
from dfgym.world.shelf import VARIABLE
from toys import fresh


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    python = f'alias dfgym="{sys.executable} -m dfgym.cli"'
    return subprocess.run(
        ["bash", "-O", "expand_aliases", "-c", f"{python}\n{command}"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", ["worlds", "--help", "--version", "record --help"])
def test_a_reader_that_goes_away_is_no_error(arguments: str) -> None:
    done = shell(f"dfgym {arguments} | true; echo ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED="1")
    assert done.stdout.strip() in ("0", "141") and done.stderr == ""
    done = shell(f"dfgym {arguments} | true; echo ${{PIPESTATUS[0]}}")
    assert done.stdout.strip() in ("0", "141") and done.stderr == ""


def test_a_path_that_stdout_cannot_spell_is_escaped(tmp_path: Path) -> None:
    done = shell(
        f"cd {tmp_path}; dfgym record DFSource/MinAtar-Breakout-v0 données --frames 60",
        PYTHONIOENCODING="ascii",
    )
    assert done.returncode == 0 and "\\xe9es:" in done.stdout, done.stderr
    assert (tmp_path / "données" / "meta.json").exists()


def test_a_pipe_or_no_weights_among_the_worlds_are_named(
    toy_ids: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = tmp_path / toy_ids.name
    world.mkdir()
    (world / "world.toml").write_bytes((toy_ids / "world.toml").read_bytes())
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    os.mkfifo(world / "weights.safetensors")
    assert cli.main(["worlds"]) == 2
    assert "weights.safetensors is missing or not a plain file" in capsys.readouterr().err
    (world / "weights.safetensors").unlink()
    (world / "weights.safetensors").write_bytes(b"\xff" * 11)
    assert cli.main(["worlds"]) == 2
    printed, errors = capsys.readouterr()
    assert "weights.safetensors is not a file of weights" in errors and "-" not in printed[:60]


def test_the_shelf_knows_homes_and_names_what_is_missing(
    toy_ids: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(toy_ids.parent.parent))
    monkeypatch.setenv(VARIABLE, f"~/{toy_ids.parent.name}")
    assert cli.main(["worlds"]) == 0
    assert toy_ids.name in capsys.readouterr().out
    monkeypatch.setenv(VARIABLE, f"{toy_ids.parent}/nowhere")
    assert cli.main(["worlds"]) == 2
    assert "nowhere is missing: make it, or mend $DFGYM_WORLDS" in capsys.readouterr().err


@pytest.mark.parametrize("name", [ppo.__name__, evaluate.__name__])
def test_an_agent_s_command_is_named_as_it_is_called(name: str) -> None:
    command = f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"  # -m
    done = fresh.run(command, "--foo")
    assert done.returncode == 2 and f"python -m {name}" in done.stderr
    assert f"{name.rpartition('.')[2]}.py" not in done.stderr
