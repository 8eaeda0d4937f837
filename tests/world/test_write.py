"""Writing a world: whole or not at all, never over another, and only what can be read back."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dfgym.errors import WorldError
from dfgym.world import bundle
from dfgym.world.bundle import STARTS_FILE, WEIGHTS_FILE, Starts
from dfgym.world.card import CARD_FILE
from toys.world import toy_card, toy_starts, toy_weights

FILES = (CARD_FILE, WEIGHTS_FILE, STARTS_FILE)


def test_write_is_reproducible_and_readable_by_all(tmp_path: Path, random_world: Path) -> None:
    card, path = toy_card(), tmp_path / "new" / "toy-random-v0"
    bundle.write(path, card, toy_weights(card), toy_starts(card))
    for name in FILES:
        assert (path / name).read_bytes() == (random_world / name).read_bytes()
        assert stat.S_IMODE((path / name).stat().st_mode) == 0o644
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert sorted(os.listdir(path.parent)) == ["toy-random-v0"]


@pytest.mark.parametrize("kind", ["world", "empty", "file", "link"])
def test_write_refuses_what_exists(tmp_path: Path, random_world: Path, kind: str) -> None:
    path = tmp_path / "toy-random-v0"
    match kind:
        case "world":
            shutil.copytree(random_world, path)
        case "empty":
            path.mkdir()
        case "file":
            path.touch()
        case "link":
            path.symlink_to("nowhere")
    card = toy_card()
    with pytest.raises(WorldError, match="exists"):
        bundle.write(path, card, toy_weights(card), toy_starts(card))
    assert os.listdir(tmp_path) == ["toy-random-v0"]


def test_write_refuses_what_appears_meanwhile(
    tmp_path: Path, random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, check = tmp_path / "toy-random-v0", bundle._check

    def check_slowly(folder: Path, toml: bytes) -> bundle.World:
        shutil.copytree(random_world, path)
        return check(folder, toml)

    monkeypatch.setattr(bundle, "_check", check_slowly)
    card = toy_card(description="another")
    with pytest.raises(WorldError, match="exists"):
        bundle.write(path, card, toy_weights(card), toy_starts(card))
    assert bundle.load(path).card.description != "another"
    assert os.listdir(tmp_path) == ["toy-random-v0"]


def misfit(change: Callable[[dict[str, torch.Tensor], dict[str, np.ndarray]], None]) -> tuple:
    card = toy_card()
    weights, starts = toy_weights(card), dict(vars(toy_starts(card)))
    change(weights, starts)
    return card, weights, Starts(**starts)


MISFITS: dict[str, Callable[[dict, dict], object]] = {
    "missing tensor": lambda w, s: w.pop(min(w)),
    "unknown tensor": lambda w, s: w.update(extra=torch.zeros(1)),
    "shape": lambda w, s: w.update({min(w): torch.zeros(3, 3, 3)}),
    "rank": lambda w, s: w.update({min(w): w[min(w)][None]}),
    "half": lambda w, s: w.update({min(w): w[min(w)].half()}),
    "double": lambda w, s: w.update({min(w): w[min(w)].double()}),
    "nan": lambda w, s: w[max(w)].view(-1)[0].fill_(torch.nan),
    "infinity": lambda w, s: w[max(w)].view(-1)[-1].fill_(-torch.inf),
    "empty": lambda w, s: w.clear(),
    "no episode": lambda w, s: s.update(offsets=np.array([0])),
    "no offset": lambda w, s: s.update(offsets=np.array([], np.int64)),
    "offsets fall": lambda w, s: s.update(offsets=s["offsets"][[0, 2, 1, 3, 4]]),
    "empty episode": lambda w, s: s.update(offsets=s["offsets"][[0, 1, 1, 2, 3, 4]]),
    "offsets beyond": lambda w, s: s.update(offsets=s["offsets"] * 2),
    "offsets begin late": lambda w, s: s.update(offsets=s["offsets"][1:]),
    "fewer seeds": lambda w, s: s.update(seeds=s["seeds"][:-1]),
    "fewer actions": lambda w, s: s.update(actions=s["actions"][:-1]),
    "action too high": lambda w, s: s.update(actions=s["actions"] + 1),
    "action negative": lambda w, s: s.update(actions=s["actions"] - 1),
    "action dtype": lambda w, s: s.update(actions=s["actions"].astype(np.int32)),
    "frame dtype": lambda w, s: s.update(frames=s["frames"].astype(np.int8)),
    "frame size": lambda w, s: s.update(frames=s["frames"][:, 1:]),
    "grey frames": lambda w, s: s.update(frames=s["frames"][..., :1]),
    "no frames": lambda w, s: s.update(frames=s["frames"][:0], actions=s["actions"][:0]),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_parts_that_do_not_fit(tmp_path: Path, kind: str) -> None:
    parts = misfit(MISFITS[kind])  # type: ignore[arg-type]
    with pytest.raises(WorldError, match="safetensors"):
        bundle.write(tmp_path / "toy-random-v0", *parts)
    assert os.listdir(tmp_path) == []


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "write_atomic", full)
    card = toy_card()
    with pytest.raises(OSError, match="No space"):
        bundle.write(tmp_path / "toy-random-v0", card, toy_weights(card), toy_starts(card))
    assert os.listdir(tmp_path) == []
