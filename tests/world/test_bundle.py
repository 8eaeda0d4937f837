"""Worlds come from strangers: every damage and every attack is a WorldError, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import random
import secrets
import shutil
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfgym.errors import WorldError
from dfgym.world import bundle
from dfgym.world.bundle import STARTS_FILE, WEIGHTS_FILE, Starts
from dfgym.world.card import CARD_FILE, Card, Files
from toys.world import toy_card, toy_starts, toy_weights

FILES = (CARD_FILE, WEIGHTS_FILE, STARTS_FILE)


@pytest.fixture
def copy(random_world: Path, tmp_path: Path) -> Path:
    """A world's folder that a test may damage."""
    return Path(shutil.copytree(random_world, tmp_path / random_world.name))


def sign(folder: Path) -> None:
    """Write the files' true hashes into the card, as an attacker would."""
    card = Card.from_toml((folder / CARD_FILE).read_bytes(), CARD_FILE)
    hashes = (
        hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (WEIGHTS_FILE, STARTS_FILE)
    )
    toml = dataclasses.replace(card, files=Files(*hashes)).to_toml()
    (folder / CARD_FILE).write_text(toml)


def test_round_trip(random_world: Path) -> None:
    card = toy_card()
    world = bundle.load(random_world)
    assert dataclasses.replace(world.card, files=card.files) == card
    weights, starts = toy_weights(card), toy_starts(card)
    assert world.weights.keys() == weights.keys()
    assert all(torch.equal(world.weights[name], weights[name]) for name in weights)
    for field in dataclasses.fields(Starts):
        loaded = getattr(world.starts, field.name)
        assert np.array_equal(loaded, getattr(starts, field.name))
        assert not loaded.flags.writeable
    assert world.hash == hashlib.sha256((random_world / CARD_FILE).read_bytes()).hexdigest()
    assert world.path == random_world.resolve()


def test_episode() -> None:
    starts = toy_starts(toy_card(), episodes=3, frames=5)
    assert len(starts) == 3
    frames, actions = starts.episode(1)
    assert np.array_equal(frames, starts.frames[5:10])
    assert np.array_equal(actions, starts.actions[5:9])


def test_loaded_once_and_shared(random_world: Path) -> None:
    assert bundle.load(random_world) is bundle.load(f"{random_world}/.")


def test_changed_world_is_read_again(copy: Path) -> None:
    before = bundle.load(copy)
    card = dataclasses.replace(before.card, description="another")
    (copy / CARD_FILE).write_text(card.to_toml())
    after = bundle.load(copy)
    assert after.card.description == "another"
    assert after.hash != before.hash


def test_threads_load_the_same(copy: Path) -> None:
    hashes: list[str] = []
    threads = [
        threading.Thread(target=lambda: hashes.append(bundle.load(copy).hash)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hashes) == 8
    assert len(set(hashes)) == 1


def test_loading_leaves_generators_alone(copy: Path) -> None:
    def states() -> tuple[bytes, bytes, str]:
        numpy_state = pickle.dumps(np.random.get_state())
        return torch.get_rng_state().numpy().tobytes(), numpy_state, str(random.getstate())

    before = states()
    bundle.load(copy)
    assert states() == before


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "folder", "empty", "fifo", "device", "dangling"])
def test_not_a_file(copy: Path, name: str, damage: str) -> None:
    file = copy / name
    file.unlink()
    match damage:
        case "folder":
            file.mkdir()
        case "empty":
            file.touch()
        case "fifo":
            os.mkfifo(file)  # opening one would wait for ever
        case "device":
            file.symlink_to("/dev/zero")
        case "dangling":
            file.symlink_to("nowhere")
    with pytest.raises(WorldError, match=name):
        bundle.load(copy)


def bytes_read() -> int:
    """What this process has read since it began, where the system counts it."""
    counts = Path("/proc/self/io")
    return int(counts.read_text().split()[1]) if counts.exists() else 0


@pytest.mark.parametrize("name", FILES)
def test_oversized(copy: Path, name: str) -> None:
    with (copy / name).open("r+b") as file:
        file.truncate(2**33)  # sparse: 8 GiB to read, nothing on the disk
    tracemalloc.start()
    before = bytes_read()
    with pytest.raises(WorldError, match=f"{name}.*(larger|allowed)"):
        bundle.load(copy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bytes_read() - before < 2**32  # it stops at what is allowed
    assert peak < 2**30


def test_huge_model_is_refused_before_anything_is_allocated(copy: Path) -> None:
    text = (copy / CARD_FILE).read_text()
    for small, huge in (("dim = 16", "dim = 2048"), ("depth = 1", "depth = 64")):
        assert small in text
        text = text.replace(small, huge)
    (copy / CARD_FILE).write_text(text)
    with pytest.raises(WorldError, match="bytes of weights"):
        bundle.load(copy)


edits = st.one_of(
    st.tuples(st.just("truncate"), st.integers(0, 2**20)),
    st.tuples(st.just("replace"), st.integers(0, 2**20), st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("insert"), st.integers(0, 2**20), st.binary(min_size=1, max_size=64)),
    st.tuples(st.just("splice"), st.integers(0, 2**20), st.integers(0, 2**20)),
)


def edited(data: bytes, edit: tuple) -> bytes:
    kind, at = edit[0], edit[1] % (len(data) + 1)
    match kind:
        case "truncate":
            return data[:at]
        case "replace":
            return data[:at] + edit[2] + data[at + len(edit[2]) :]
        case "insert":
            return data[:at] + edit[2] + data[at:]
    return data[:at] + data[edit[2] % (len(data) + 1) :]


@given(name=st.sampled_from(FILES), changes=st.lists(edits, min_size=1, max_size=3))
def test_any_edit_is_refused_or_harmless(
    random_world: Path, tmp_path_factory: pytest.TempPathFactory, name: str, changes: list
) -> None:
    """A damaged file raises WorldError, or nothing that counts was damaged."""
    # A name that never comes back: a world that was read is not read again where its card is equal.
    folder = tmp_path_factory.mktemp(f"edited-{secrets.token_hex(8)}-")
    original = (random_world / name).read_bytes()
    data = original
    for change in changes:
        data = edited(data, change)
    for file in FILES:
        (folder / file).write_bytes(data if file == name else (random_world / file).read_bytes())
    try:
        world = bundle.load(folder)
    except WorldError as error:
        assert name in str(error) or name == CARD_FILE  # a card may name another file's hash
        assert data != original
    else:
        # Only a card can differ and load: another description, another comment. Whatever it is,
        # its hash tells, and the files that it names are whole.
        assert name == CARD_FILE or data == original
        assert world.hash == hashlib.sha256((folder / CARD_FILE).read_bytes()).hexdigest()
        assert world.card.files == bundle.load(random_world).card.files
    shutil.rmtree(folder)


@given(name=st.sampled_from((WEIGHTS_FILE, STARTS_FILE)), changes=st.lists(edits, min_size=1))
def test_any_signed_edit_is_refused_or_fits(
    random_world: Path, tmp_path_factory: pytest.TempPathFactory, name: str, changes: list
) -> None:
    """An attacker can write the right hash, but still cannot get past the checks of content."""
    folder = tmp_path_factory.mktemp("signed")
    shutil.copytree(random_world, folder, dirs_exist_ok=True)
    data = (random_world / name).read_bytes()
    for change in changes:
        data = edited(data, change)
    (folder / name).write_bytes(data)
    sign(folder)
    try:
        world = bundle.load(folder)
    except WorldError as error:
        assert name in str(error)
    else:
        original = bundle.load(random_world)
        for key, weight in original.weights.items():
            assert world.weights[key].shape == weight.shape
            assert world.weights[key].isfinite().all()
        assert world.starts.frames.shape[1:] == original.starts.frames.shape[1:]
        assert 0 <= world.starts.actions.min() <= world.starts.actions.max() < 3
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, STARTS_FILE])
def test_other_formats_are_refused_and_not_run(copy: Path, name: str, tmp_path: Path) -> None:
    """A pickle under the name of a safetensors file, signed: its payload does not run."""

    class Payload:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "owned"),)

    (copy / name).write_bytes(pickle.dumps(Payload()))
    sign(copy)
    with pytest.raises(WorldError, match=f"{name} is not a safetensors file"):
        bundle.load(copy)
    torch.save(toy_weights(toy_card()), copy / name)
    sign(copy)
    with pytest.raises(WorldError, match=f"{name} is not a safetensors file"):
        bundle.load(copy)
    assert not (tmp_path / "owned").exists()


def test_swapped_files(copy: Path) -> None:
    weights, starts = (copy / WEIGHTS_FILE), (copy / STARTS_FILE)
    weights.rename(copy / "x")
    starts.rename(weights)
    (copy / "x").rename(starts)
    with pytest.raises(WorldError, match="sha256"):
        bundle.load(copy)
    sign(copy)
    with pytest.raises(WorldError, match="lacks tensor"):
        bundle.load(copy)
