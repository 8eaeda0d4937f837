"""A run ends by its steps or by the clock, can be prolonged, and is saved when it is stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dfgym.train import loop
from dfgym.train.batches import Process
from dfgym.train.checkpoint import read_checkpoint
from dfgym.train.config import TrainConfig
from dfgym.train.loop import train
from dfgym.train.observe import LOG_FILE, is_strip_due
from dfgym.train.optimizer import make_average, make_optimizers, set_rates
from dfgym.train.schedule import Progress, Schedule
from toys import walk as toy_walk
from toys.walk import tiny

ALONE, CPU = Process(0, 1), torch.device("cpu")


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_walk.record(tmp_path_factory.mktemp("data") / "walk", episodes=30)


def rates(run: Path) -> list[float]:
    return [json.loads(line)["rate"] for line in (run / LOG_FILE).read_text().splitlines()]


def acted(config: TrainConfig, times: list[float]) -> Iterator[Progress]:
    """What a schedule says when its clock shows these times, one after the other."""
    clock = iter([times[0], *times])
    schedule = Schedule(config, ALONE, CPU, 0.0, lambda: next(clock))
    for step in range(len(times)):
        yield schedule.look(step)


def test_by_steps_the_clock_does_not_matter(tmp_path: Path) -> None:
    config = tiny(tmp_path, tmp_path)  # 8 steps of videos, and 2 of images
    result = list(acted(config, [0, 5, 5.1, 100, *range(200, 207)]))
    assert [r.begin for r in result] == [step / 10 for step in range(11)]
    assert [r.finished for r in result] == [False] * 10 + [True]
    assert {r.total for r in result} == {10}


def test_by_the_clock_it_ends_with_the_step_nearest_to_the_time(tmp_path: Path) -> None:
    config = tiny(tmp_path, tmp_path, steps=0, minutes=1.0)
    for step, seconds in ((7, 63), (13, 65), (9, 63), (11, 55)):  # 63 is nearer to 60 than 56
        result = list(acted(config, list(range(0, seconds + 9 * step, step))))
        end = next(i for i, r in enumerate(result) if r.finished)
        assert end * step == seconds
        assert result[0].total is None  # no step has been measured
        assert all(r.total == pytest.approx(60 / step, abs=1) for r in result[2:end])
        assert result[3].begin == pytest.approx(3 * step / 60)


def test_by_the_clock_one_step_is_taken_at_least(tmp_path: Path) -> None:
    config = tiny(tmp_path, tmp_path, steps=0, minutes=1e-9)
    assert [r.finished for r in acted(config, [0.0, 5.0])] == [False, True]
    half_an_hour = tiny(tmp_path, tmp_path, steps=0)
    assert half_an_hour.seconds == 1800 and config.seconds == pytest.approx(6e-8)
    assert tiny(tmp_path, tmp_path).seconds == 0


def test_rates_rise_stay_and_fall_by_shares(tmp_path: Path) -> None:
    config = tiny(tmp_path, tmp_path, warmup=0.1, cooldown=0.5)
    optimizers = make_optimizers(torch.nn.Linear(2, 2), config)

    def rate(begin: float, end: float) -> float:
        return set_rates(optimizers, config, Progress(begin, end, 0, False, False, 0.0))

    assert rate(0.0, 0.05) == pytest.approx(0.5) and rate(0.1, 0.2) == rate(0.4, 0.5) == 1
    assert rate(0.75, 0.76) == pytest.approx(0.5) and rate(1.0, 1.0) == 0
    assert {group["lr"] for group in optimizers[0].param_groups} == {0}
    still = dataclasses.replace(config, warmup=0.0, cooldown=0.0)
    assert set_rates(optimizers, still, Progress(1.0, 1.0, 0, False, False, 0.0)) == 1


def test_the_average_reaches_back_over_a_share_of_the_steps(tmp_path: Path) -> None:
    """The mean age of what is averaged is the same share of a short and of a long run."""
    for steps in (200, 2000):
        network = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
        average = make_average(network, tiny(tmp_path, tmp_path, ema=0.1))
        for step in range(1, steps + 1):
            torch.nn.init.constant_(network.weight, step / steps)
            average.update_parameters(network)
        age = 1 - float(average.module.get_parameter("weight").detach())
        assert age == pytest.approx(0.1, abs=0.003)


def test_a_run_of_minutes_trains_for_them_and_is_prolonged(walks: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "run", steps=0, minutes=0.02, warmup=0.1)
    train(config)
    _, first, _, seconds, _ = read_checkpoint(config.out)
    assert first > 3 and seconds == pytest.approx(1.2, abs=0.3)
    assert rates(config.out)[0] < 0.5 and rates(config.out)[-1] < 0.5
    train(config)  # nothing is left to do
    assert read_checkpoint(config.out).step == first
    train(dataclasses.replace(config, minutes=0.05))
    _, second, _, seconds, _ = read_checkpoint(config.out)
    assert second > first and seconds == pytest.approx(3, abs=0.4)
    assert rates(config.out)[first] == 1 and rates(config.out)[-1] < 0.5


def test_a_run_of_steps_is_prolonged_and_cut(walks: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "run")
    train(config)
    train(dataclasses.replace(config, steps=18, cooldown=0.1, checkpoint_every=3))
    assert read_checkpoint(config.out).step == 20 and len(rates(config.out)) == 20
    assert rates(config.out)[10:17] == [1.0] * 7
    train(dataclasses.replace(config, steps=4))
    assert read_checkpoint(config.out).step == 20, "it has more than enough"


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), ("SIGBREAK", SystemExit)],
)
def test_a_signal_saves_the_run(
    walks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: Any,
    error: type[BaseException],
) -> None:
    if number == "SIGBREAK":  # Windows alone has it
        number = signal.SIGUSR1
        monkeypatch.setattr(signal, "SIGBREAK", number, raising=False)
    whole = tiny(walks, tmp_path / "whole")
    train(whole)
    stopped = dataclasses.replace(whole, out=tmp_path / "stopped")
    calls, real = iter(range(100)), loop.set_rates

    def signal_self(*arguments: object) -> float:
        if next(calls) == 2:  # in the third step, before any checkpoint is due
            os.kill(os.getpid(), number)
        return real(*arguments)  # type: ignore[arg-type]

    handlers = signal.getsignal(number)
    monkeypatch.setattr(loop, "set_rates", signal_self)
    with pytest.raises(error):
        train(stopped)
    monkeypatch.undo()
    assert read_checkpoint(stopped.out).step == 3
    assert signal.getsignal(number) is handlers
    train(stopped)
    first, second = (read_checkpoint(c.out).tensors for c in (whole, stopped))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_strips_become_rarer() -> None:
    assert [n for n in range(100) if is_strip_due(n, 3)] == [3, 6, 12, 24, 48, 96]
    assert not any(is_strip_due(n, 0) for n in range(9))
