"""A stand-in for Ray, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dfgym.errors import DfgymError


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
        self.dead, self.exists = False, True

    def init(self, **keywords: Any) -> None:
        if keywords["address"] == "auto" and not self.exists:
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
