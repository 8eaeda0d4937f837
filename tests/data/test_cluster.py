"""A Ray cluster's processes: in a stand-in for Ray, and where Ray is installed in itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from dfgym.agents.players import make_factory
from dfgym.cli import main
from dfgym.data import cluster
from dfgym.data.cluster import LOCAL, Cluster, RayPool, share_out
from dfgym.data.record import Recording, record
from dfgym.errors import ConfigError, DfgymError, MissingPackageError
from dfgym.evaluation import ranking
from dfgym.evaluation.run import evaluate
from dfgym.world.settings import Settings
from toys.cluster import ToyRay

GAME = Recording("toys.catch:toys/Catch-v0", 300, {"random": 0.5, "sticky-random": 0.5}, seed=3)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if "lock" not in file.name}


def test_a_cluster_records_the_same_bits(ray: ToyRay, tmp_path: Path) -> None:
    record(GAME, tmp_path / "one", make_factory, progress=False)
    record(GAME, tmp_path / "ray", make_factory, progress=False, processes=Cluster(LOCAL, 3))
    assert contents(tmp_path / "one") == contents(tmp_path / "ray")
    assert not ray.began  # it has left the cluster
    shared = ["record", GAME.env, str(tmp_path / "command"), "--frames", "300", "--seed", "3"]
    shared += ["--policies", "random", "0.5", "sticky-random", "0.5"]
    assert main([*shared, "--ray", "auto"]) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "command")


def test_a_process_begins_once_for_each_pool(ray: ToyRay) -> None:
    begun: list[int] = []
    for number in (1, 2):
        pool = RayPool(Cluster(LOCAL), begun.append, (number,))
        results = [pool.submit(abs, value) for value in (-3, -4)]
        assert [result.result() for result in results] == [3, 4]
        results[0].cancel()
        pool.shutdown()
    assert begun == [1, 2]


def test_what_work_raises_comes_back_as_it_was(ray: ToyRay) -> None:
    def fail(_: Any) -> None:
        raise ConfigError("the game is broken")

    pool = RayPool(Cluster("auto"), lambda: None, ())
    with pytest.raises(ConfigError, match="the game is broken"):
        pool.submit(fail, 0).result()
    ray.dead = True
    with pytest.raises(DfgymError, match="Ray: all nodes are dead; the same command continues"):
        pool.submit(fail, 0).result()


@pytest.mark.parametrize("where", [None, Cluster(LOCAL, 3)], ids=["here", "there"])
def test_results_come_in_the_order_of_the_work(ray: ToyRay, where: Cluster | None) -> None:
    assert list(share_out(abs, [-3, 1, -2], where)) == [3, 1, 2]
    results = share_out(lambda n: 1 // n, [1, 0, 1], where)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not ray.began


def test_an_evaluation_on_a_cluster_measures_the_same(
    ray: ToyRay, random_world: Path, tmp_path: Path
) -> None:
    names = ["lifetime", "transfer", "speed"]
    here, there = (
        evaluate(random_world, tmp_path / "out", True, Settings("cpu", 1), names, where)
        for where in (None, Cluster(LOCAL))
    )
    assert here["lifetime"] == there["lifetime"] and "speed" in there
    assert here["absent"] == there["absent"] and there["absent"].keys() == {"transfer"}


def test_players_are_ranked_on_a_cluster(ray: ToyRay, tmp_path: Path) -> None:
    files = [
        ranking.score_players(
            ranking.Config(("a", "bb"), out=tmp_path / name, ray=name and LOCAL),
            lambda player, env, seed: [len(player), len(env), seed],
        ).read_text()
        for name in ("", "there")
    ]
    assert files[0] == files[1] and not ray.began


def test_a_cluster_that_is_not_there(
    ray: ToyRay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ray.exists = False
    for address, answer in {
        "auto": "no answer",
        "127.0.0.1:1": "refused",
        "ray://127.0.0.1:1": "refused",
        "no host:6379": "not known",
    }.items():
        assert main(["record", GAME.env, str(tmp_path / "data"), "--ray", address]) == 2
        error = capsys.readouterr().err
        assert f"there is no Ray cluster at {address!r} (" in error and answer in error
        assert "start one with" in error and error.count("\n") == 1


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r'pip install "dfgym\[ray\]"'):
        RayPool(Cluster(LOCAL), print, ())


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    killed: list[int] = []
    real = cluster.RayFuture.result

    def result(self: cluster.RayFuture) -> Any:
        workers = [p for p in psutil.Process().children(recursive=True) if "ray::_work" in p.name()]
        if workers and not killed:
            workers[0].kill()
            killed.append(workers[0].pid)
        return real(self)

    monkeypatch.setattr(cluster.RayFuture, "result", result)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    record(GAME, tmp_path / "one", make_factory, progress=False)
    record(GAME, tmp_path / "ray", make_factory, progress=False, processes=Cluster(LOCAL, 2))
    assert contents(tmp_path / "one") == contents(tmp_path / "ray")
