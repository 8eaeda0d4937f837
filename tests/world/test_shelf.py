"""The shelf: worlds by name and by path, and no name that leads anywhere else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfgym.errors import WorldError
from dfgym.world import bundle, shelf
from dfgym.world.card import CARD_FILE, check_name

GOOD_NAMES = ["minatar-breakout-v0", "a-v0", "0-v99", "a1-b2-c3-v10", "x" * 61 + "-v0"]
BAD_NAMES = [
    "", "v0", "-v0", "a-v", "a-v0-", "a--b-v0", "A-v0", "a_b-v0", "a b-v0", " a-v0", "a-v0 ",
    "..", ".", "/", "/etc", "/etc/passwd", "a/b-v0", "../a-v0", "a-v0/../b-v0", "./a-v0",
    "~", "~/a-v0", "~nobody-at-all/a-v0", "C:\\x-v0", "a\\b-v0", "a-v0\0", "\0", "./\0", "a\0-v0",
    "a-v0\n", "\na-v0", "a-v\uff10", "\uff41-v0", "a-v²", "á-v0", "con", "nul",
    "con.toml", "a-v0.toml", "*-v0", "a-v0;ls",
    "$HOME", "%2e%2e", "x" * 62 + "-v0", "x" * 10_000 + "-v0", "x/" * 5_000, "./" + "x" * 10_000,
    "\ud800-v0", "./\ud800", "\u202ea-v0",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFGYM_WORLDS", str(tmp_path))
    with pytest.raises(WorldError, match="cannot be named"):
        check_name(name)
    for door in (shelf.find, shelf.card, shelf.load):
        with pytest.raises(WorldError) as raised:
            door(name)
        assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("value", [None, 5, b"a-v0", ["a-v0"]])
def test_names_are_strings(value: object) -> None:
    with pytest.raises(WorldError):
        shelf.find(value)  # type: ignore[arg-type]
    with pytest.raises(WorldError):
        check_name(value)  # type: ignore[arg-type]


@given(st.text(max_size=80))
def test_a_name_is_safe_or_refused(name: str) -> None:
    try:
        check_name(name)
    except WorldError:
        return
    assert name.isascii()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.fixture
def shelf_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "worlds"
    folder.mkdir()
    monkeypatch.setenv("DFGYM_WORLDS", os.pathsep.join(["", str(tmp_path / "absent"), str(folder)]))
    return folder


def test_worlds_on_the_shelf(shelf_folder: Path, random_world: Path) -> None:
    packaged = shelf.names()
    assert "toy-random-v0" not in packaged
    shutil.copytree(random_world, shelf_folder / "toy-random-v0")
    (shelf_folder / "no-world-v0").mkdir()
    (shelf_folder / "not-a-name").mkdir()
    (shelf_folder / "not-a-name" / CARD_FILE).touch()
    (shelf_folder / ".toy-random-v0.draft").mkdir()
    assert shelf.names() == sorted([*packaged, "toy-random-v0"])
    assert shelf.find("toy-random-v0") == shelf_folder / "toy-random-v0"
    assert shelf.load("toy-random-v0").card == shelf.card("toy-random-v0")
    with pytest.raises(WorldError, match=r"no world 'other-v0'; there are .*toy-random-v0.* in "):
        shelf.find("other-v0")


def test_packaged_worlds_come_first(shelf_folder: Path) -> None:
    root = shelf.folders()[0]
    assert (root / "__init__.py").is_file()
    assert shelf.folders()[1:] == [shelf_folder.parent / "absent", shelf_folder]


def test_a_folder_that_cannot_be_read_hides_no_other(
    shelf_folder: Path, random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(random_world, shelf_folder / "toy-random-v0")
    bad, file = "/" + 300 * "x", shelf_folder / "file"
    file.touch()
    monkeypatch.setenv("DFGYM_WORLDS", os.pathsep.join([bad, str(file), str(shelf_folder)]))
    assert "toy-random-v0" in shelf.names()
    assert [*map(str.split, shelf.survey()[1])] == [
        [*f"the shelf's folder {bad} cannot be read: File name too long".split()],
        [*f"the shelf's folder {file} cannot be read: Not a directory".split()],
    ]
    assert shelf.load("toy-random-v0").card.name == "toy-random-v0"
    with pytest.raises(WorldError, match="no world 'other-v0'"):
        shelf.find("other-v0")


def test_worlds_by_path(
    random_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(random_world, tmp_path / "renamed")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for way in (
        str(tmp_path / "renamed"),
        "./renamed",
        "~/renamed",
        Path("renamed"),
        "../" + tmp_path.name + "/renamed",
    ):
        assert shelf.load(way).card.name == "toy-random-v0"


def test_folder_of_another_name(shelf_folder: Path, random_world: Path) -> None:
    shutil.copytree(random_world, shelf_folder / "other-v0")
    for door in (shelf.card, shelf.load):
        with pytest.raises(WorldError, match="holds the world toy-random-v0"):
            door("other-v0")


def test_links_that_leave_the_shelf(shelf_folder: Path, random_world: Path) -> None:
    (shelf_folder / "toy-random-v0").symlink_to(random_world)
    for door in (shelf.find, shelf.card, shelf.load):
        with pytest.raises(WorldError, match="leaves the shelf"):
            door("toy-random-v0")


def test_link_loop(shelf_folder: Path) -> None:
    loop = shelf_folder / "loop-v0"
    loop.symlink_to(loop)
    for way in ("loop-v0", str(loop)):
        with pytest.raises(WorldError):
            shelf.load(way)
    with pytest.raises(WorldError):
        bundle.load(loop)


def test_shelf_that_is_a_link(shelf_folder: Path, random_world: Path, tmp_path: Path) -> None:
    """The user's own link to a shelf is no attack."""
    (tmp_path / "absent").symlink_to(shelf_folder)
    shutil.copytree(random_world, shelf_folder / "toy-random-v0")
    assert shelf.load("toy-random-v0").card.name == "toy-random-v0"
