"""The shelf: where worlds are found by name or by path; importing it does not import torch."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dfgym.checks import shorten
from dfgym.errors import WorldError
from dfgym.world.card import CARD_FILE, Card, check_name, read_bytes

if TYPE_CHECKING:
    from dfgym.world.bundle import World

DEFAULT = "minatar-breakout-v0"
VARIABLE = "DFGYM_WORLDS"


def folders() -> list[Path]:
    """List the shelf's folders: the packaged one, then those in `$DFGYM_WORLDS`; the first wins."""
    spec = importlib.util.find_spec("dfgym.worlds")
    packaged = spec.submodule_search_locations if spec else None
    listed = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [*map(Path, packaged or ()), *(_expand(folder) for folder in listed if folder)]


def _expand(folder: str) -> Path:
    """Return a folder whose `~` nobody has replaced, as in a Dockerfile or a systemd unit."""
    try:
        return Path(folder).expanduser()
    except RuntimeError:  # no such user
        return Path(folder)


def names() -> list[str]:
    """List the names of all worlds on the shelf, in order; their cards may yet be broken."""
    return survey()[0]


def survey() -> tuple[list[str], list[str]]:
    """List the names, and in words what cannot be read: one bad folder does not hide the others."""
    listed: set[str] = set()
    problems: list[str] = []
    for folder in folders():
        try:
            entries = os.listdir(folder)
        except FileNotFoundError:
            problems.append(f"the shelf's folder {folder} is missing: make it, or mend ${VARIABLE}")
            continue
        except OSError as reason:
            problems.append(f"the shelf's folder {folder} cannot be read: {reason.strerror}")
            continue
        here = filter(_is_name, entries)
        listed |= {name for name in here if os.path.lexists(folder / name / CARD_FILE)}
    return sorted(listed), problems


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """Find a world's folder: a name's on the shelf, `hf://user/name@revision` on the Hub.

    Anything else with a separator is a path.

    Raises:
        WorldError: the name is malformed or not on the shelf, or leaves it through a link; or the
            path holds no world; or the Hub gives none, see `dfgym.world.hub.fetch`.
        MissingPackageError: it is on the Hub, and huggingface_hub is missing.
    """
    text = _text(name_or_path)
    if text.startswith("hf://"):
        from dfgym.world import hub

        return hub.fetch(text)
    if _is_path(name_or_path):
        try:
            folder = Path(text).expanduser()
            is_world = (folder / CARD_FILE).is_file()
        except (OSError, RuntimeError, ValueError) as reason:  # too long, no such home, a NUL
            raise WorldError(f"{shorten(text)} is no folder: {shorten(str(reason))}") from None
        if not is_world:
            raise WorldError(f"{shorten(text)} holds no {CARD_FILE}, so it is no world's folder")
        return folder
    check_name(text)
    for shelf in folders():
        folder = shelf / text
        if os.path.isfile(folder / CARD_FILE):
            if folder.resolve().parent != shelf.resolve():
                raise WorldError(
                    f"{folder} is a link that leaves the shelf; give its target's path"
                )
            return folder
    raise WorldError(
        f"no world {text!r}; there are {', '.join(names()) or 'none'} "
        f"in {', '.join(map(str, folders()))} (add folders with ${VARIABLE}, or give a path)"
    )


def card(name_or_path: str | os.PathLike[str]) -> Card:
    """Read a world's card alone, which is cheap.

    Raises:
        WorldError: there is no such world, or its card is broken.
    """
    folder = find(name_or_path)
    card = Card.from_toml(read_bytes(folder), str(folder / CARD_FILE))
    _check_named(card, name_or_path)
    return card


def load(name_or_path: str | os.PathLike[str]) -> World:
    """Load a world, checked, with its weights and starts.

    Raises:
        WorldError: there is no such world, or its files are broken.
    """
    from dfgym.world import bundle

    world = bundle.load(find(name_or_path))
    _check_named(world.card, name_or_path)
    return world


def _check_named(card: Card, name_or_path: str | os.PathLike[str]) -> None:
    if not _is_path(name_or_path) and card.name != name_or_path:
        raise WorldError(
            f"the shelf's folder {name_or_path} holds the world {card.name}: rename it"
        )


def _text(name_or_path: str | os.PathLike[str]) -> str:
    text = os.fspath(name_or_path) if isinstance(name_or_path, os.PathLike) else name_or_path
    if not isinstance(text, str):
        raise WorldError(f"a world is given by its name or path, not by {shorten(text)}")
    return text


def _is_path(name_or_path: str | os.PathLike[str]) -> bool:
    separators = {os.sep, os.altsep or os.sep}
    return isinstance(name_or_path, os.PathLike) or (
        name_or_path.startswith((".", "~")) or any(mark in name_or_path for mark in separators)
    )


def _is_name(text: str) -> bool:
    try:
        return bool(check_name(text))
    except WorldError:
        return False
