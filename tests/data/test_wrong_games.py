"""Games that answer wrongly or raise: one line says which, in which episode and step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError
from toys.counter import Counter
from toys.recordings import record

ID = "DFTest/Wrong-v0"


class Wrong(Counter):
    """Counts, and does something wrong in its third episode, at its fourth step."""

    def __init__(self, wrong: Callable[[Any], Any], **keywords: Any) -> None:
        super().__init__(size=(8, 8), **keywords)
        self.wrong, self.resets = wrong, 0

    def reset(self, **keywords: Any) -> Any:
        self.resets += 1
        return super().reset(**keywords)

    def step(self, action: Any) -> Any:
        answer = super().step(action)
        # Before the first episode the game is looked at.
        return self.wrong(answer) if self.resets >= 5 and self.count == 4 else answer


def fail(reason: BaseException) -> Callable[[Any], Any]:
    def step(answer: Any) -> Any:
        raise reason

    return step


def put(place: int, value: Any) -> Callable[[Any], Any]:
    return lambda answer: (*answer[:place], value, *answer[place + 1 :])


@pytest.fixture
def register() -> Iterator[Callable[..., None]]:
    def add(make: Callable[..., gym.Env[Any, Any]]) -> None:
        gym.register(ID, make)

    yield add
    gym.registry.pop(ID, None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (put(1, None), r"reward of step\(\) raised TypeError"),
        (put(1, "much"), r"reward of step\(\) raised ValueError: .*much"),
        (put(1, np.zeros(2)), r"reward of step\(\) raised TypeError"),
        (put(1, float("nan")), r"reward of step\(\) is nan; expected a finite number"),
        (put(1, float("inf")), r"reward of step\(\) is inf"),
        (put(1, 1e39), r"reward of step\(\) is 1e\+39; .* float32 can hold"),
        (put(0, None), r"the picture of its observation .*; expected a picture"),
        (put(0, np.zeros((9, 9, 3), np.uint8)), r"its picture is .*9, 9.*size of the first one"),
        (lambda answer: answer[:4], r"step\(\) is a list of 4; expected \(observation, reward"),
        (lambda answer: None, r"step\(\) is None; expected"),
        (fail(RuntimeError("it broke")), r"step\(\) raised RuntimeError: 'it broke'; mend"),
        (fail(MemoryError()), r"step\(\) raised MemoryError"),
        (fail(AssertionError()), r"step\(\) raised AssertionError"),
    ],
)
def test_a_wrong_step_is_named_and_no_finished_episode_is_lost(
    tmp_path: Path, register: Callable[..., None], wrong: Callable[[Any], Any], message: str
) -> None:
    register(lambda **keywords: Wrong(wrong, **keywords))
    with pytest.raises(ConfigError, match=rf"^{ID}, episode 2, step 4: .*{message}"):
        record(ID, tmp_path / "data", 100)
    store = EpisodeStore.open(tmp_path / "data")
    store.verify()
    assert len(store) == 2


def test_an_interrupt_stays_one(tmp_path: Path, register: Callable[..., None]) -> None:
    register(lambda **keywords: Wrong(fail(KeyboardInterrupt()), **keywords))
    with pytest.raises(KeyboardInterrupt):
        record(ID, tmp_path / "data", 100)
    assert len(EpisodeStore.open(tmp_path / "data")) == 2


class Old(Counter):
    """Speaks the API of before Gymnasium 0.26."""

    def reset(self, **_: Any) -> Any:
        return Counter.reset(self)[0]


class Seedless(Counter):
    def reset(self) -> Any:  # type: ignore[override]
        return Counter.reset(self)


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (
            Old,
            r"reset\(\) is of type ndarray; expected \(observation, info\), as in Gymnasium",
        ),
        (Seedless, r"reset\(\) raised TypeError: .*unexpected keyword"),
    ],
)
def test_an_old_game_is_named(
    tmp_path: Path, register: Callable[..., None], game: type[Counter], message: str
) -> None:
    register(lambda **keywords: game(size=(8, 8), **keywords))
    with pytest.raises(ConfigError, match=rf"^{ID}, step 0: {message}"):
        record(ID, tmp_path / "data", 100)


class SmallSeeds(Counter):
    """Keeps its seed in 32 bits, as games in C do."""

    def reset(self, *, seed: int | None = None, **keywords: Any) -> Any:
        np.array([seed], np.int32)
        return super().reset(seed=seed, **keywords)


def test_seeds_that_a_game_cannot_take_are_made_smaller(
    tmp_path: Path, register: Callable[..., None]
) -> None:
    record("DFTest/Counter-v0", tmp_path / "wide", 100, seed=1)
    register(lambda **keywords: SmallSeeds(**keywords))
    record(ID, tmp_path / "small", 100, seed=1)
    wide, small = (EpisodeStore.open(tmp_path / name).episodes for name in ("wide", "small"))
    assert any(episode.seed >= 2**31 for episode in wide)
    assert [episode.seed for episode in small] == [episode.seed % 2**31 for episode in wide]


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(np.int64(30), 30), (12.5, 12.5), (0, None), (None, None), ("x", None), (1e9, None)],
)
def test_a_frame_rate_is_a_number_or_unknown(
    tmp_path: Path, register: Callable[..., None], fps: Any, expected: float | None
) -> None:
    def make(**keywords: Any) -> Counter:
        game = Counter(size=(8, 8), **keywords)
        game.metadata = {**game.metadata, "render_fps": fps}
        game.action_meanings = None  # type: ignore[attr-defined]
        return game

    register(make)
    store = record(ID, tmp_path / "data", 30)
    assert store.meta["fps"] == expected and store.meta["meanings"] == ["0", "1", "2"]


@pytest.fixture(autouse=True)
def ids(counter_ids: None) -> None:
    """The games that count."""
