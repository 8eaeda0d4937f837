"""A Ray cluster's processes: in a stand-in for Ray, and where Ray is installed in itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from dfgym.agents.players import make_factory
from dfgym.cli import main
from dfgym.data import cluster
from dfgym.data.cluster import LOCAL, Cluster, RayPool
from dfgym.data.record import Recording, record
from dfgym.errors import ConfigError, DfgymError, MissingPackageError

GAME = Recording("toys.catch:toys/Catch-v0", 300, {"random": 0.5, "sticky-random": 0.5}, seed=3)


class RayError(Exception):
    """What Ray raises of its own."""


class RayTaskError(RayError):
    """What Ray raises where work raised."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("many lines")
        self.cause = cause


class ToyRay(ModuleType):
    """Ray in this process: work is done when its result is wanted."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.exceptions = ModuleType("ray.exceptions")
        vars(self.exceptions).update(RayError=RayError, RayTaskError=RayTaskError)
        self.began: list[dict[str, Any]] = []
        self.dead = False

    def init(self, **keywords: Any) -> None:
        if keywords["address"] == "nowhere:1":
            raise ConnectionError("no answer\nand more")
        self.began.append(keywords)

    def remote(self, **keywords: Any) -> Callable[[Any], Any]:
        assert keywords == {"max_retries": -1, "num_cpus": 1}
        return lambda function: SimpleNamespace(remote=lambda *items: (function, items))

    def put(self, value: Any) -> Any:
        return value

    def get(self, reference: Any) -> Any:
        if self.dead:
            raise RayError("all nodes are dead\nand more")
        try:
            return reference[0](*reference[1])
        except DfgymError as reason:
            raise RayTaskError(reason) from reason

    def cancel(self, reference: Any) -> None:
        pass

    def shutdown(self) -> None:
        self.began.pop()


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> ToyRay:
    toy = ToyRay()
    monkeypatch.setitem(sys.modules, "ray", toy)
    monkeypatch.setitem(sys.modules, "ray.exceptions", toy.exceptions)
    return toy


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


def test_a_cluster_that_is_not_there(
    ray: ToyRay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record", GAME.env, str(tmp_path / "data"), "--ray", "nowhere:1"]) == 2
    error = capsys.readouterr().err
    assert "there is no Ray cluster at 'nowhere:1' (no answer); start one with" in error
    assert error.count("\n") == 1


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
