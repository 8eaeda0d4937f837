"""What `import dfgym` does: it registers ids, brings no torch, and cures forks of torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import dfgym
from dfgym.games import minatar, minigrid
from dfgym.world import shelf
from toys import fresh


def run(code: str, worlds: Path | None = None) -> list[str]:
    """Run code in a fresh interpreter that sees the worlds in a folder; return what it prints."""
    environment = os.environ | {"DFGYM_WORLDS": str(worlds or "")}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout.split("\n")[:-1]


@pytest.fixture
def worlds(tmp_path: Path, random_world: Path) -> Path:
    """A shelf with one good world and one whose card is broken."""
    shutil.copytree(random_world, tmp_path / "toy-random-v0")
    (tmp_path / "broken-v0").mkdir()
    (tmp_path / "broken-v0" / "world.toml").write_text("format = 1\n")
    return tmp_path


def test_ids(worlds: Path) -> None:
    code = """if True:
        import sys, gymnasium, dfgym
        for spec in gymnasium.registry.values():
            if spec.id.startswith("DF"):
                print(spec.id, spec.entry_point, spec.vector_entry_point, spec.max_episode_steps,
                      spec.kwargs.get("world"))
        print("torch" in sys.modules)
    """
    *lines, torch = run(code, worlds)
    dream = "dfgym.env.env:DreamEnv dfgym.env.vector:DreamVectorEnv"
    real = "dfgym.env.real:RealEnv None"
    for line in (
        f"DFWorld-v0 {dream} {shelf.card(shelf.DEFAULT).episode.max_steps} None",
        f"DFWorld/toy-random-v0 {dream} 100 toy-random-v0",
        f"DFReal/toy-random-v0 {real} 100 toy-random-v0",
        f"DFWorld/broken-v0 {dream} None broken-v0",
        f"DFReal/broken-v0 {real} None broken-v0",
        "DFSource/MinAtar-Breakout-v0 dfgym.games.minatar:MinAtarEnv None None None",
    ):
        assert line in lines
    assert len(lines) == 1 + len(minatar.GAMES) + len(minigrid.GAMES) + 2 * (2 + len(shelf.names()))
    assert torch == "False"


def test_module_prefix_is_enough(worlds: Path) -> None:
    code = """if True:
        import gymnasium
        print(gymnasium.make("dfgym:DFWorld/toy-random-v0").spec.max_episode_steps)
    """
    assert fresh.run(code, DFGYM_WORLDS=str(worlds)).stdout == "100\n"


def test_broken_world_raises_when_made(worlds: Path) -> None:
    code = """if True:
        import gymnasium, dfgym, dfgym.errors
        for kind in "DFWorld", "DFReal":
            try:
                gymnasium.make(f"{kind}/broken-v0")
            except dfgym.errors.WorldError as error:
                print(kind, error)
    """
    lines = fresh.run(code, DFGYM_WORLDS=str(worlds)).stdout.splitlines()
    for kind, line in zip(("DFWorld", "DFReal"), lines, strict=True):
        assert re.fullmatch(rf"{kind} .*broken-v0/world\.toml: missing key 'name'", line)


def test_a_folder_that_cannot_be_read_is_no_obstacle() -> None:
    assert run("import dfgym; print(1)", Path("/" + 300 * "x")) == ["1"]


def test_specs_are_plain() -> None:
    for spec in gymnasium.registry.values():
        if spec.id.startswith("DF"):
            assert gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()) == spec


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", dfgym.__version__)
    changes = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(dfgym.__version__)}\b", changes, re.M)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_worker_can_use_torch() -> None:
    """Without the hook the child waits for threads that the fork did not copy."""
    code = """if True:
        import os, signal, sys, dfgym, torch
        torch.set_num_threads(2)
        large = torch.ones(1000, 1000)
        (large @ large).sum()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            large.add(1).sum()
            os._exit(torch.get_num_threads())
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), torch.get_num_threads())
    """
    assert fresh.run(code).stdout == "1 2\n"
