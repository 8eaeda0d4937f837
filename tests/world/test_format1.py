"""Worlds and states of format 1 are read as they always were."""

from __future__ import annotations

import dataclasses
import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
import safetensors.torch
import tomli_w
import torch

from dfgym.env.env import DreamEnv
from dfgym.errors import WorldError
from dfgym.world import bundle
from dfgym.world.bundle import STARTS_FILE, WEIGHTS_FILE
from dfgym.world.card import CARD_FILE
from toys.world import toy_card, toy_starts, toy_weights

MIXTURE = dataclasses.replace(toy_card().model, mixture=2)
OLD_NAMES = (
    ("global_pool_proj", "everywhere"),
    ("mlp_in", "wide"),
    ("mlp_out", "narrow"),
    ("embed_position", "embed_site"),
    ("mixture_logits", "odds"),
    ("out_mixture", "out_apart"),
)


def old_table() -> dict[str, Any]:
    """Return the table of a toy world's card as format 1 had it."""
    table = tomllib.loads(toy_card(model=MIXTURE).to_toml())
    table["format"] = 1
    table["frames"]["palette"] = [[0, 0, 0], [200, 40, 40], [250, 250, 250]]
    table["model"] |= {"shortcut": 0, "target": "x"}
    return table


def write_old(folder: Path, table: dict[str, Any]) -> Path:
    """Write a toy world of format 1."""
    weights = {}
    for name, value in toy_weights(toy_card(model=MIXTURE)).items():
        for new, old in OLD_NAMES:
            name = name.replace(new, old)
        weights[name] = value
    starts = vars(toy_starts(toy_card()))
    files = {
        WEIGHTS_FILE: safetensors.torch.save(weights),
        STARTS_FILE: safetensors.numpy.save(starts),
    }
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
        table["files"][name.split(".")[0]] = hashlib.sha256(data).hexdigest()
    (folder / CARD_FILE).write_text(tomli_w.dumps(table))
    return folder


def test_a_world_of_format_1_is_the_world_that_it_was(tmp_path: Path) -> None:
    world = bundle.load(write_old(tmp_path / "old-v0", old_table()))
    card, weights = toy_card(model=MIXTURE), toy_weights(toy_card(model=MIXTURE))
    assert dataclasses.replace(world.card, format=2, files=card.files) == card
    assert world.weights.keys() == weights.keys()
    assert all(torch.equal(world.weights[name], weights[name]) for name in weights)
    bundle.write(tmp_path / "new-v0", world.card, world.weights, world.starts)
    assert bundle.load(tmp_path / "new-v0").card.format == 2


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("shortcut", 4, r"model\.shortcut is not 0: .* train the world again"),
        ("target", "v", r"model\.target is not 'x': .* train the world again"),
        ("target", 0, r"model\.target is not 'x'"),
    ],
)
def test_worlds_that_learned_rivals_are_refused(
    tmp_path: Path, name: str, value: object, text: str
) -> None:
    table = old_table()
    table["model"][name] = value
    with pytest.raises(WorldError, match=text):
        bundle.load(write_old(tmp_path / "old-v0", table))


@pytest.mark.parametrize("colour", [[0, 0], [0, 0, 256], [0, 0, True], [0, 0, "0"], 5, "red", []])
def test_a_wrong_colour_is_refused(tmp_path: Path, colour: object) -> None:
    table = old_table()
    table["frames"]["palette"][1] = colour
    with pytest.raises(WorldError, match="palette has the colour"):
        bundle.load(write_old(tmp_path / "old-v0", table))


@pytest.mark.parametrize("table_name", ["model", "frames"])
@pytest.mark.parametrize("value", [3, [], {}])
def test_a_damaged_card_is_refused(tmp_path: Path, table_name: str, value: object) -> None:
    with pytest.raises(WorldError, match=table_name):
        bundle.load(write_old(tmp_path / "old-v0", old_table() | {table_name: value}))


def test_states_of_format_1_are_restored(tmp_path: Path) -> None:
    env = DreamEnv(write_old(tmp_path / "old-v0", old_table()), device="cpu")
    env.reset(seed=0)
    env.step(1)
    state = env.clone_state()
    tensors = safetensors.numpy.load(state[32:])
    tensors["dynamics.rings"] = tensors.pop("dynamics.cache")
    data = safetensors.numpy.save(tensors)
    observation, *_ = env.step(2)
    env.restore_state(hashlib.sha256(data).digest() + data)
    assert env.clone_state() == state
    assert (env.step(2)[0] == observation).all()
