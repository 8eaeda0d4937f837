"""A checkpoint lands with a hash; its log is never behind it; its data may move."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from dfgym.errors import ConfigError, DataError
from dfgym.train import loop
from dfgym.train.checkpoint import FILE, metadata, read_checkpoint
from dfgym.train.config import TrainConfig
from dfgym.train.loop import train
from dfgym.train.observe import LOG_FILE
from dfgym.train.pack import pack, player_shares
from toys import walk as toy_walk
from toys.walk import tiny


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    """The configuration of a run of four steps, which is done."""
    walks = toy_walk.record(tmp_path / "walk", episodes=30)
    config = tiny(walks, tmp_path / "run", steps=4, image_steps=0, checkpoint_every=2)
    train(config)
    return config


def refuse(config: TrainConfig, message: str) -> None:
    """Both doors refuse the checkpoint, and write nothing."""
    before = (config.out / FILE).read_bytes()
    world = config.out.parent / "toy-v0"
    for call in (lambda: train(config), lambda: pack(config.out, world, "toy-v0")):
        with pytest.raises(DataError, match=message):
            call()
    assert (config.out / FILE).read_bytes() == before and not world.exists()


def test_a_flipped_bit_is_refused(config: TrainConfig) -> None:
    path = config.out / FILE
    whole = path.read_bytes()
    body = 8 + int.from_bytes(whole[:8], "little")
    chance = random.Random(0)
    for _ in range(12):
        damaged = bytearray(whole)
        damaged[chance.randrange(body, len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        refuse(config, "it has changed since it was written; bring back a whole one")


def test_exchanged_tensors_are_refused(config: TrainConfig) -> None:
    path = config.out / FILE
    whole = path.read_bytes()
    head = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]
    tensors = load(whole)
    for prefix in ("network.", "average.module.", "optimizer.0."):
        names = sorted(name for name in tensors if name.startswith(prefix))
        one, other = next(
            (a, b)
            for a in names
            for b in names
            if a < b
            and tensors[a].shape == tensors[b].shape
            and not torch.equal(tensors[a], tensors[b])
        )
        path.write_bytes(save(tensors | {one: tensors[other], other: tensors[one]}, head))
        refuse(config, "it has changed")


def with_head(change: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    """Change what stands beside the tensors; the hash fits again."""

    def write(path: Path, tensors: dict[str, torch.Tensor], values: dict[str, str]) -> None:
        from dfgym.train import checkpoint

        head = json.loads(values["head"])
        text = change(head) or json.dumps(head)
        digest = checkpoint._digest(text, tensors)
        path.write_bytes(save(tensors, {"head": text, "sha256": digest}))

    return write


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda head: head.update(step=-5), r"step is -5; expected int >= 0"),
        (lambda head: head.update(seconds=-1.0), r"seconds is -1.0; expected float >= 0"),
        (lambda head: head.update(step="4"), r"step is '4'; expected int"),
        (lambda head: head["origin"].update(data=5), r"origin.data is 5; expected list"),
        (lambda head: head["origin"].update(data=[]), r"origin.data is a list of 0; expected"),
        (lambda head: head["origin"]["data"].append("x"), r"trained on 2 data sets, now .* 1"),
        (lambda head: head["origin"].update(objective=None), r"origin.objective is None"),
        (lambda head: head["origin"].pop("settings") and None, r"missing key 'origin.settings'"),
        (lambda head: head["origin"]["settings"].update(seed="x"), r"seed is 'x'; expected int"),
        (lambda head: "[" * 100_000, "not a whole checkpoint"),
        (lambda head: "5", "not a whole checkpoint"),
    ],
)
def test_a_wrong_head_is_named(config: TrainConfig, change: Any, message: str) -> None:
    path = config.out / FILE
    whole = path.read_bytes()
    values = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]
    with_head(change)(path, load(whole), values)
    refuse(config, message)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("optimizer.0.0.exp_avg", torch.zeros(3, 5), r"optimizer.0.0.exp_avg has shape \[3, 5\]"),
        ("optimizer.1.0.momentum_buffer", torch.zeros(7), r"momentum_buffer has shape \[7\]"),
        ("optimizer.0.x.exp_avg", torch.zeros(1), "unknown tensor 'optimizer.0.x.exp_avg'"),
        ("optimizer.0.999.step", torch.zeros(()), "(lacks|unknown tensor) optimizer.0.999"),
    ],
)
def test_a_state_that_does_not_fit_its_optimiser_is_named(
    config: TrainConfig, name: str, value: torch.Tensor, message: str
) -> None:
    saved = read_checkpoint(config.out)
    tensors = saved.tensors | {name: value}
    (config.out / FILE).write_bytes(save(tensors, metadata(2, saved.origin, tensors)))
    with pytest.raises(DataError, match=message):
        train(config)


def test_a_log_with_a_gap_is_refused_and_a_lost_one_begins_again(
    config: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    log = config.out / LOG_FILE
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    for left, gap in ((lines[:2], "1 to step 4"), ([lines[0], *lines[2:]], "0 to step 2")):
        log.write_bytes(b"".join(left))
        with pytest.raises(DataError, match=f"goes from step {gap}, .* or delete it"):
            train(config)
        assert log.read_bytes() == b"".join(left)
    for again in range(2):
        log.unlink() if not again else log.write_bytes(b"")
        with caplog.at_level(logging.WARNING, "dfgym"):
            train(config)
        assert "the log begins again at step 4" in caplog.text


def test_the_log_is_on_the_disk_before_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = toy_walk.record(tmp_path / "walk", episodes=30)
    config = tiny(walks, tmp_path / "run", steps=3, image_steps=0, checkpoint_every=1)
    events: list[str] = []
    real_sync, real_save = os.fsync, loop.save_checkpoint

    def sync(descriptor: int) -> None:
        log = config.out / LOG_FILE
        if log.exists() and os.path.samestat(os.fstat(descriptor), log.stat()):
            events.append(f"log {len(log.read_bytes().splitlines())}")
        real_sync(descriptor)

    def save_it(folder: Path, step: int, *rest: Any) -> None:
        events.append(f"checkpoint {step}")
        real_save(folder, step, *rest)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(loop, "save_checkpoint", save_it)
    train(config)
    pairs = [f"{kind} {step}" for step in (1, 2, 3) for kind in ("log", "checkpoint")]
    assert [event for event in events if event != "log 0"] == pairs


def test_data_may_move(config: TrainConfig, tmp_path: Path) -> None:
    """The place is no part of what a run learned from."""
    moved = tmp_path / "elsewhere"
    config.data[0].rename(moved)
    train(dataclasses.replace(config, data=(moved,)))  # it is done: nothing is written
    with pytest.raises(DataError, match="no such folder"):
        pack(config.out, tmp_path / "toy-v0", "toy-v0")
    pack(config.out, tmp_path / "toy-v0", "toy-v0", data=(moved,))
    other = toy_walk.record(tmp_path / "other", episodes=30, seed=1)
    with pytest.raises(DataError, match="on other data than"):
        pack(config.out, tmp_path / "toy-v1", "toy-v1", data=(other,))


def test_a_run_of_a_version_without_a_setting_goes_on(config: TrainConfig) -> None:
    """A setting that is new has its default in the runs from before it."""
    saved = read_checkpoint(config.out)
    tensors = load((config.out / FILE).read_bytes())
    head = json.loads(json.dumps(saved.origin.settings))
    del head["past"], head["model"]["mixture"]
    origin = dataclasses.replace(saved.origin, settings=head)
    (config.out / FILE).write_bytes(save(tensors, metadata(saved.step, origin, tensors)))
    train(config)
    with pytest.raises(ConfigError, match="trained with past = 1, now 2"):
        train(dataclasses.replace(config, past=2))


def test_a_card_names_the_players_of_all_recordings() -> None:
    stores: list[Any] = [
        SimpleNamespace(num_frames=300, meta={"policies": {"random": 1.0}}),
        SimpleNamespace(num_frames=100, meta={"policies": {"random": 0.5, "scripted:0": 0.5}}),
        SimpleNamespace(num_frames=999, meta={}),  # imported: nobody knows who played
    ]
    assert player_shares(stores) == {"random": 0.875, "scripted:0": 0.125}
    assert player_shares(stores[2:]) == {}
