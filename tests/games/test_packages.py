"""Ids of packages are found by themselves; any other module is imported at its user's word only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dfgym.errors import ConfigError, MissingPackageError
from dfgym.games import packages
from dfgym.games.source import Opening, open_source
from toys.catch import Catch

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("env_id", "module", "wrappers"),
    [
        ("ALE/Pong-v5", "ale_py", ()),
        ("PongNoFrameskip-v4", "ale_py", ()),
        ("MinAtar/SpaceInvaders-v1", "minatar", ()),
        ("MiniGrid-Empty-5x5-v0", "minigrid", ("minigrid.wrappers:RGBImgPartialObsWrapper",)),
        ("VizdoomBasic-v1", "vizdoom", ()),
    ],
)
def test_ids_of_packages_are_found(env_id: str, module: str, wrappers: tuple[str, ...]) -> None:
    pytest.importorskip(module)
    source = open_source(Opening(env_id, wrappers=wrappers))
    frame = source.frame(source.env.reset(seed=0)[0])
    source.env.close()
    assert frame.ndim == 3 and frame.shape[2] == 3 and frame.max() > 0


def test_the_forms_of_an_id() -> None:
    assert packages.split_id("CartPole-v1") == ("", "CartPole-v1")
    assert packages.split_id("my.games:my/Catch-v0") == ("my.games", "my/Catch-v0")
    for text in ("a:b:c", "mygame:", "mygame.py:my/Catch-v0", "../mygame:Catch"):
        with pytest.raises(ConfigError, match=r"expected id, module:id .* or module:Class"):
            packages.split_id(text)
    with pytest.raises(ConfigError, match="mygame:my/Catch-v0"):
        packages.split_id("mygame.py:my/Catch-v0")


@pytest.mark.parametrize("text", ["Wrapper", "a:b:c", "a:B {", "a:B [1]", "a b:C", ":C", "a:"])
def test_the_form_of_a_wrapper(text: str) -> None:
    with pytest.raises(ConfigError, match="expected module:Class"):
        packages.split_wrapper(text)


def test_an_unknown_module_is_refused_and_the_way_out_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(packages.VARIABLE, raising=False)
    for opening in (
        Opening("never/Registered-v0", module="toys.catch"),
        Opening("CartPole-v1", wrappers=("toys.catch:Negative",)),
        Opening("CartPole-v1", wrappers=("gymnasium.wrappers:RecordVideo",)),
        Opening("CartPole-v1", wrappers=("subprocess:run",)),
    ):
        with pytest.raises(ConfigError, match=r"add --trust .* trust=True, or DFGYM_TRUST"):
            open_source(opening)


def test_a_class_of_a_known_package_is_no_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minigrid")
    monkeypatch.delenv(packages.VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="doesn't exist"):
        open_source(Opening("register_minigrid_envs", module="minigrid"))


def test_a_missing_package_is_named_with_what_installs_it() -> None:
    with pytest.raises(MissingPackageError, match="pip install flappy-bird-gymnasium"):
        open_source(Opening("FlappyBird-v0"))
    with pytest.raises(MissingPackageError, match="in the folder that holds it"):
        open_source(Opening("Catch-v0", module="no_such_module"), trusted=True)
    with pytest.raises(ConfigError, match=r"Foo.*module:Class"):
        open_source(Opening("Foo-v0"))


def test_a_known_id_is_named_where_a_module_does_not_register_it() -> None:
    for module, env_id in (("toys.catch", "FlappyBird-v0"), ("nowhere", "FlappyBird-v0")):
        with pytest.raises((ConfigError, MissingPackageError), match=rf"alone, .*: {env_id}$"):
            open_source(Opening(env_id, module=module), trusted=True)


class Meaning(Catch):
    """Says of its actions what it is given."""

    words: Any = None

    def get_action_meanings(self) -> Any:
        return self.words


@pytest.mark.parametrize(
    ("words", "meanings"),
    [
        *((words, ["0", "1", "2"]) for words in (None, "NOOP", ["NOOP"], 3, {"NOOP": 0})),
        (["NOOP", "LEFT", 3], ["noop", "left", "3"]),
        (np.array(["NOOP", "LEFT", "3"]), ["noop", "left", "3"]),
    ],
)
def test_meanings_that_do_not_name_each_action_are_numbers(words: Any, meanings: Any) -> None:
    source = open_source(Opening("Meaning"), make=Meaning)
    source.env.unwrapped.words = words  # type: ignore[attr-defined]
    assert source.meanings == meanings


@pytest.mark.parametrize("thing", [3, None, Catch])
def test_what_makes_no_environment_is_named(thing: Any) -> None:
    with pytest.raises(ConfigError, match=r"Mine made .*; expected an environment of Gymnasium"):
        open_source(Opening("Mine"), make=lambda: thing)


def test_a_class_and_wrappers_of_ones_own() -> None:
    opening = Opening(
        "Catch",
        {"side": 12},
        module="toys.catch",
        wrappers=("toys.catch:Negative", 'gymnasium.wrappers:TimeLimit {"max_episode_steps": 2}'),
    )
    source = open_source(opening, trusted=True)
    frame = source.frame(source.env.reset(seed=0)[0])
    assert frame.shape == (12, 12, 3) and frame[5, 0].tolist() == [255, 255, 255]
    assert [source.env.step(1)[3] for _ in range(2)] == [False, True]
    with pytest.raises(ConfigError, match="has no class 'Other'"):
        open_source(Opening("CartPole-v1", wrappers=("toys.catch:Other",)), trusted=True)
    with pytest.raises(ConfigError, match=r"cannot wrap .*unexpected keyword"):
        wrapper = 'toys.catch:Negative {"speed": 3}'
        open_source(Opening("CartPole-v1", wrappers=(wrapper,)), trusted=True)


def test_modules_of_the_current_folder_only_at_the_users_word(tmp_path: Path) -> None:
    """Not even a known package's name is looked up there without it."""
    (tmp_path / "flappy_bird_gymnasium.py").write_text("print('ran')")
    (tmp_path / "mine.py").write_text("print('ran')")
    code = (
        "from dfgym.games.source import Opening, open_source\n"
        "import sys; sys.path[:] = [p for p in sys.path if p]\n"
        "try: open_source(Opening({!r}, module={!r}), {})\n"
        "except Exception as error: print(type(error).__name__)"
    )
    for env_id, module, trusted, printed in (
        ("FlappyBird-v0", "", False, "MissingPackageError"),
        ("Own-v0", "mine", True, "ran ConfigError"),
        ("Own-v0", "mine", False, "ConfigError"),
    ):
        script = code.format(env_id, module, trusted)
        ran = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert ran.stdout.split() == printed.split()


def test_trust_reaches_processes_that_are_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(packages.VARIABLE, "first")
    packages.trust("toys.catch", "")
    assert packages.is_trusted("toys.catch") and packages.is_trusted("first")
    code = "from dfgym.games import packages; print(packages.is_trusted('toys.catch'))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n"


def test_breakouts_id_is_no_other_game() -> None:
    pytest.importorskip("minatar")
    with pytest.raises(ConfigError, match="DFSource/MinAtar-SpaceInvaders-v0"):
        open_source(Opening("DFSource/MinAtar-Breakout-v0", {"game": "space_invaders"}))


def test_the_games_own_limit() -> None:
    assert open_source(Opening("CartPole-v1", size=(8, 8))).max_steps == 500
    pytest.importorskip("ale_py")
    assert open_source(Opening("ALE/Pong-v5")).max_steps == 27_000
    assert "ALE/Pong-v5" in gym.registry
