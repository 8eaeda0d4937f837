"""How many threads of a CPU are taken, and that what the user has set stays."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from dfgym import device
from dfgym.device import Threads, available_cores
from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.train import loop
from dfgym.train.checkpoint import read_checkpoint
from toys import walk as toy_walk
from toys.walk import tiny

OWN = 4


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of four cores, on which torch has taken four threads by itself."""
    for name in device.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(device, "available_cores", lambda: OWN)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: OWN)
    monkeypatch.setattr(device, "_free_cores", lambda: OWN)
    torch.set_num_threads(OWN)
    yield
    torch.set_num_threads(1)


def threads_of_a_step(env: DreamEnv | DreamVectorEnv) -> int:
    counts: list[int] = []

    def section(name: str) -> device.Threads:
        counts.append(torch.get_num_threads())
        return Threads("nothing")

    env.reset(seed=0)
    env.dynamics.section = section
    env.step(env.action_space.sample())
    (count,) = set(counts)
    return count


def test_a_single_environment_takes_one_thread_and_gives_torch_back(
    random_world: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device._announce.cache_clear()
    with caplog.at_level(logging.INFO, "dfgym"):
        for _ in range(2):
            env = DreamEnv(random_world, device="cpu")
            assert threads_of_a_step(env) == env.dynamics.threads.count == 1
            assert torch.get_num_threads() == OWN
    assert caplog.text.count("a single environment: 1 CPU thread; OMP_NUM_THREADS or") == 1


@pytest.mark.parametrize(("free", "expected"), [(0, 1), (1, 1), (3, 3), (4, 4), (9, 4)])
def test_a_batch_takes_the_cores_that_nobody_uses(
    random_world: Path, monkeypatch: pytest.MonkeyPatch, free: int, expected: int
) -> None:
    monkeypatch.setattr(device, "_free_cores", lambda: free)
    env = DreamVectorEnv(3, world=random_world, device="cpu")
    assert threads_of_a_step(env) == expected and torch.get_num_threads() == OWN


def test_what_the_user_has_set_stays(random_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(3)
    assert threads_of_a_step(DreamEnv(random_world, device="cpu")) == 3
    torch.set_num_threads(OWN)
    env = DreamEnv(random_world, device="cpu")
    for count in (2, 1, 3):  # set later
        torch.set_num_threads(count)
        assert threads_of_a_step(env) == torch.get_num_threads() == count
    torch.set_num_threads(OWN)
    for name in device.THREAD_VARIABLES:
        with monkeypatch.context() as patch:
            patch.setenv(name, str(OWN))
            assert threads_of_a_step(DreamEnv(random_world, device="cpu")) == OWN


@pytest.mark.parametrize(
    ("own", "count", "expected"), [(OWN, None, 1), (3, None, 3), (OWN, 2, 2), (3, 1, 1)]
)
def test_agents_take_one_thread_unless_the_user_has_set_another(
    own: int, count: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(own)
    device.use_threads("an agent", count)
    assert torch.get_num_threads() == expected
    torch.set_num_threads(OWN)
    monkeypatch.setenv("OMP_NUM_THREADS", str(OWN))
    device.use_threads("an agent", None)
    assert torch.get_num_threads() == OWN


def test_free_cores_are_those_that_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(psutil, "cpu_percent", lambda *_, **__: [100.0, 0.0, 96.0, 3.0])
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert device._free_cores() == 1 and available_cores() == 3
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: {0, 2}, raising=False)
    assert device._free_cores() == 0


def test_a_training_goes_on_with_the_threads_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = toy_walk.record(tmp_path / "walk", episodes=30)
    config = tiny(walks, tmp_path / "run", steps=2, image_steps=0, checkpoint_every=1)
    counts: list[int] = []
    real = loop.set_rates

    def note(*arguments: object) -> float:
        counts.append(torch.get_num_threads())
        if len(counts) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "set_rates", note)
    monkeypatch.setattr(device, "_free_cores", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        loop.train(config)
    assert read_checkpoint(config.out).threads == 2
    monkeypatch.setattr(device, "_free_cores", lambda: 1)
    loop.train(config)
    assert counts == [2, 2, 2] and torch.get_num_threads() == OWN
