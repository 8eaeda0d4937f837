"""Worlds on the Hub: published to a local server that speaks its language, and fetched again."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from dfgym.cli import main
from dfgym.env.env import DreamEnv
from dfgym.errors import MissingPackageError, WorldError
from dfgym.world import bundle, hub, shelf
from toys.hub import TOKEN, ToyHub, toy_hub
from toys.world import toy_card, toy_starts, toy_weights

pytest.importorskip("huggingface_hub")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyHub]:
    with toy_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
        yield server


def login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: TOKEN)


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in hub.FILES}


def test_a_world_goes_to_the_hub_and_comes_back(
    served: ToyHub, random_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with monkeypatch.context() as account:
        login(account)
        assert main(["push", str(random_world), "ann/toy"]) == 0
        address = capsys.readouterr().out.split()[-1]
        assert address.startswith("hf://ann/toy@")
        assert main(["push", str(random_world), "ann/toy"]) == 0  # again: nothing has changed
    assert 'world="hf://ann/toy"' in served.repos["ann/toy"]["main"]["README.md"].decode()
    # No account from here on.
    assert main(["pull", address, str(tmp_path / "shelf")]) == 0
    pulled = tmp_path / "shelf" / random_world.name
    assert files(pulled) == files(random_world)
    assert hub.pull("ann/toy", tmp_path / "shelf") == pulled  # it is there
    env, own = (
        gym.make("dfgym:DFWorld-v0", world=world, device="cpu") for world in (address, random_world)
    )
    assert np.array_equal(env.reset(seed=1)[0], own.reset(seed=1)[0])
    assert np.array_equal(env.step(1)[0], own.step(1)[0])
    served.requests.clear()
    again = pickle.loads(pickle.dumps(env.unwrapped))
    assert isinstance(again, DreamEnv)
    assert again.clone_state() == env.unwrapped.clone_state()  # type: ignore[attr-defined]
    assert not any(request.startswith("GET") for request in served.requests)  # from the cache


def test_a_revision_stays_what_it_was(served: ToyHub, random_world: Path) -> None:
    first = served.commit("ann/toy", files(random_world))
    served.commit("ann/toy", {"world.toml": b"format = 99\n"})
    assert bundle.load(hub.fetch(f"hf://ann/toy@{first}")).hash == bundle.load(random_world).hash
    with pytest.raises(WorldError, match="format is 99"):
        shelf.load("hf://ann/toy")


def test_without_a_network_the_cache_serves(
    served: ToyHub, random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = served.commit("ann/toy", files(random_world))
    address = f"hf://ann/toy@{commit}"
    expected = shelf.load(address).hash
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the library waits and tries again
    assert shelf.load(address).hash == expected
    with pytest.raises(WorldError, match=r"ann/other.*cannot be reached"):
        shelf.load("hf://ann/other")


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://x", "hf://a/b/c", "hf://a/../b", "hf://a/b@", "hf://a/b@../c", "hf://a/b@c d",
     "hf://a/b\n", "hf://é/b", "hf://a/" + "b" * 300, "hf://-a/b", "hf://a/b@x..y"],
)  # fmt: skip
def test_a_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(WorldError, match=r"is no world's address on the Hub; expected hf://user"):
        shelf.find(text)


def test_each_trouble_has_its_own_line(
    served: ToyHub, random_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = files(random_world)
    commit = served.commit("ann/private", whole)
    served.private.add("ann/private")
    served.commit("ann/gated", whole)
    served.gated.add("ann/gated")
    served.commit("ann/empty", {"README.md": b"hello"})
    served.commit("ann/damaged", {**whole, "weights.safetensors": whole["starts.safetensors"]})
    served.commit("ann/huge", {**whole, "world.toml": b"#" * (hub.MAX_CARD_BYTES + 1)})
    for address, text in {
        "hf://ann/gone": "is not there, or is private: look at the name or.*HF_TOKEN",
        "hf://ann/private": "is not there, or is private",
        f"hf://ann/private@{commit}": "is not there, or is private",
        "hf://ann/gated": "is open to some alone: ask for access",
        "hf://ann/empty": "is no world: it lacks one of world.toml",
        "hf://ann/empty@v9": "no such branch, tag or commit",
        "hf://ann/damaged": "weights.safetensors.*hash|sha256",
        "hf://ann/huge": "world.toml has 65537 bytes; allowed are 65536",
    }.items():
        with pytest.raises(WorldError, match=text) as raised:
            shelf.load(address)
        assert "\n" not in str(raised.value)
    login(monkeypatch)
    assert shelf.load("hf://ann/private").hash == bundle.load(random_world).hash


def test_what_is_not_published(
    served: ToyHub, random_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WorldError, match="ann/toy: the Hub lets you not do this"):
        hub.push(random_world, "ann/toy")  # no account
    login(monkeypatch)
    hub.push(random_world, "hf://ann/toy", private=True)
    assert served.private == {"ann/toy"}
    hub.push(random_world, "ann/toy", private=True)
    served.commit("ann/open", {"notes.txt": b"for all to see"})
    with pytest.raises(WorldError, match="ann/open exists and all can see it"):
        hub.push(random_world, "ann/open", private=True)
    assert set(served.repos["ann/open"]["main"]) == {"notes.txt"}
    with pytest.raises(WorldError, match="has a revision"):
        hub.push(random_world, "ann/toy@main")
    card = toy_card(description="another")
    bundle.write(tmp_path / card.name, card, toy_weights(card), toy_starts(card))
    with pytest.raises(WorldError, match=r"another toy-random-v0: worlds never change"):
        hub.push(tmp_path / card.name, "ann/toy")
    with pytest.raises(WorldError, match=r"is another world than hf://ann/toy; move it"):
        hub.pull("hf://ann/toy", tmp_path)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "world.toml").write_text("x")
    with pytest.raises(WorldError, match="not valid TOML"):
        hub.push(damaged, "ann/toy")


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match=r'pip install "dfgym\[hub\]"'):
        shelf.find("hf://ann/toy")
