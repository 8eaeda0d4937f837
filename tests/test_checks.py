"""What checks refuses, in which words, and that no stranger's value can do harm in an error."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from dfgym import checks
from dfgym.errors import ConfigError, WorldError


@dataclass(frozen=True)
class Layer:
    """A leaf."""

    width: Annotated[int, Meta(ge=1, le=64)] = 8
    rate: float = 0.5
    mode: Literal["fast", "exact"] | None = None
    order: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        checks.check(self, ConfigError)
        if self.mode == "exact" and self.order != 2:
            raise ConfigError("order is 1; expected 2 with mode exact")


@dataclass(frozen=True)
class Net:
    """A tree."""

    name: Annotated[str, Meta(max_length=16)]
    first: Layer = Layer()
    layers: tuple[Layer, ...] = ()
    pair: tuple[int, Layer] | None = None
    weights: dict[str, float] = field(default_factory=dict)
    named: dict[str, Layer] = field(default_factory=dict)
    file: Path = Path("net")

    def __post_init__(self) -> None:
        checks.check(self, ConfigError)


NET: dict[str, Any] = {
    "name": "n",
    "first": {"width": 3, "mode": "fast"},
    "layers": [{"width": 1}, {"rate": 2}],
    "pair": [1, {"order": 2}],
    "weights": {"a": 1.5},
    "named": {"b": {}},
    "file": "here/net",
}


def error_of(table: Any, where: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        checks.convert(Net, table, ConfigError, where)
    return str(caught.value)


def test_plain_values_become_dataclasses_and_come_back() -> None:
    net = checks.convert(Net, NET, ConfigError)
    assert net.layers == (Layer(width=1), Layer(rate=2.0))
    assert net.pair == (1, Layer(order=2))
    assert net.named == {"b": Layer()}
    assert net.file == Path("here/net")
    assert checks.convert(Net, checks.to_plain(net), ConfigError) == net
    assert checks.to_plain(net)["layers"][0] == checks.to_plain(Layer(width=1)), "with defaults"


def test_what_is_no_plain_value_is_not_written() -> None:
    with pytest.raises(TypeError, match=r"object"):
        checks.to_plain({"a": object()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": {"width": 0}}, "first.width is 0; expected int >= 1"),
        ({"first": {"width": 65}}, "first.width is 65; expected int <= 64"),
        ({"first": {"width": True}}, "first.width is True; expected int, got bool"),
        ({"first": {"width": 1.0}}, "first.width is 1.0; expected int, got float"),
        ({"first": {"rate": "2"}}, "first.rate is '2'; expected float, got str"),
        ({"first": {"rate": math.nan}}, "first.rate is nan; expected a finite number"),
        ({"weights": {"a": -math.inf}}, "weights.a is -inf; expected a finite number"),
        ({"first": {"mode": "slow"}}, "first.mode is 'slow'; allowed are fast, exact"),
        ({"first": {"mode": 1}}, "first.mode is 1; expected str | None, got int"),
        ({"first": {"order": 3}}, "first.order is 3; allowed are 1, 2"),
        ({"first": {"order": True}}, "first.order is True; expected int, got bool"),
        ({"first": 3}, "first is 3; expected table, got int"),
        ({"first": [1, 2]}, "first is a list of 2; expected table, got list"),
        (
            {"first": {"depth": 3}},
            "unknown key 'first.depth'; allowed are width, rate, mode, order",
        ),
        ({"layers": [{}, {"a": 1}]}, "unknown key 'layers[1].a'; allowed are width, rate, mode"),
        ({"layers": [{}, {"width": 0}]}, "layers[1].width is 0; expected int >= 1"),
        ({"layers": {}}, "layers is a table of 0; expected list, got table"),
        ({"pair": [1, {"a": 1}]}, "unknown key 'pair[1].a'; allowed are width"),
        ({"pair": [{}, {}]}, "pair[0] is a table of 0; expected int, got table"),
        ({"pair": [1]}, "pair is a list of 1; expected list of length 2, got 1"),
        ({"weights": {"a": 1.0, "b": "x"}}, "weights.b is 'x'; expected float, got str"),
        ({"weights": {3: 1.0}}, "weights is a table of 1; expected str, got int"),
        ({"named": {"b": {"width": 0}}}, "named.b.width is 0; expected int >= 1"),
        ({"named": {"b": {"a": 0}}}, "unknown key 'named.b.a'; allowed are width"),
        ({"named": {"b": {"mode": "exact"}}}, "named.b.order is 1; expected 2 with mode exact"),
        ({"name": "n" * 17}, "name is 'nnnnnnnnnnnnnnnnn'; expected str of length <= 16"),
        ({"file": 3}, "file is 3; expected Path, got int"),
        ({"other": 1}, "unknown key 'other'; allowed are name, first, layers"),
    ],
)
def test_an_error_names_the_innermost_value_and_what_is_allowed(
    change: dict[str, Any], message: str
) -> None:
    assert error_of(NET | change).startswith(message)


def test_a_missing_key_is_named() -> None:
    assert error_of({}, "net") == "missing key 'net.name'"
    assert error_of([], "net") == "net is a list of 0; expected table, got list"
    assert error_of(None) == "the value is None; expected table, got None"


def test_the_error_has_the_class_and_the_name_that_the_caller_gives() -> None:
    with pytest.raises(WorldError, match=r"^card\.toml\.first\.width is 0; "):
        checks.convert(Net, NET | {"first": {"width": 0}}, WorldError, "card.toml")


def test_python_values_meet_the_same_rules() -> None:
    with pytest.raises(ConfigError, match=r"^width is 0; expected int >= 1$"):
        Layer(width=0)
    with pytest.raises(ConfigError, match=r"^rate is inf; expected a finite number$"):
        Layer(rate=math.inf)
    with pytest.raises(ConfigError, match=r"^first is a table of 1; expected Layer$"):
        Net("n", first={"width": 1})  # type: ignore[arg-type]
    assert Layer(rate=1).rate == 1


def test_numpy_numbers_are_refused_as_files_could_not_hold_them() -> None:
    with pytest.raises(ConfigError, match=r"expected int, got numpy\.int64"):
        Layer(width=np.int64(3))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"expected float, got numpy\.float64"):
        Layer(rate=np.float64(0.5))


def test_an_error_shows_little_of_a_huge_or_deep_value() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for huge in (deep, 10**6000, "x" * 10**6, b"x" * 10**6, [0] * 10**5, {"x" * 10**6: 1}):
        for change in ({"first": huge}, {"first": {"width": huge}}, {"weights": {"a": huge}}):
            assert len(error_of(NET | change)) < 200
    assert len(error_of(NET | {"x" * 10**6: 1})) < 200
    assert len(error_of(NET | {"weights": {"x" * 10**6: "a"}})) < 200


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_character_that_a_terminal_obeys_gets_into_an_error(key: str, value: str) -> None:
    changes: list[dict[str, Any]] = [
        {f"{key}!": value},
        {"weights": {key: value}},
        {"named": {key: {value + "!": 1}}},
        {"first": {"mode": value + "!"}},
        {"first": value},
    ]
    for change in changes:
        assert error_of(NET | change, where=key).isprintable()
