"""Small games in which things come by chance, and dreams of them that are doctored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dfgym.world.bundle import Starts
from dfgym.world.card import Actions, Card, Episode, Frames, Rewards, Source
from dfgym.world.outcomes import Transition
from toys.world import toy_card

BLACK, PADDLE, GOOD, BAD = (0, 0, 0), (60, 90, 250), (30, 200, 40), (220, 30, 30)


class Catch(gym.Env[np.ndarray, Any]):
    """One thing at a time falls from a random column, 12 x 12: catch the green, let the red fall.

    The reward is 1 for a caught green thing and -1 for a missed green or a caught red one; three
    losses end the episode. With `things=False`, after the first thing none comes any more.
    """

    SIZE = 12
    palette = (BLACK, PADDLE, GOOD, BAD)
    row: int | None

    def __init__(self, things: bool = True) -> None:
        self.things = things
        self.observation_space = gym.spaces.Box(0, 255, (self.SIZE, self.SIZE, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.paddle, self.losses = self.SIZE // 2, 0
        self._serve()
        return self._draw(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.paddle = int(np.clip(self.paddle + (0, -1, 1)[int(action)], 1, self.SIZE - 2))
        reward = 0.0
        if self.row is not None:
            self.row += 1
            if self.row == self.SIZE - 1:
                caught = abs(self.column - self.paddle) <= 1
                reward = 1.0 if caught == self.good else -1.0
                reward = reward if caught or self.good else 0.0
                self.losses += reward < 0
                self.row = None
                if self.things:
                    self._serve()
        return self._draw(), reward, self.losses == 3, False, {}

    def _serve(self) -> None:
        self.row = 0
        self.column = int(self.np_random.integers(self.SIZE))
        self.good = bool(self.np_random.integers(2))

    def _draw(self) -> np.ndarray:
        frame = np.zeros((self.SIZE, self.SIZE, 3), np.uint8)
        frame[-1, self.paddle - 1 : self.paddle + 2] = PADDLE
        if self.row is not None:
            frame[self.row, self.column] = GOOD if self.good else BAD
        return frame


class Pong(gym.Env[np.ndarray, Any]):
    """A ball bounces between two walls and a paddle, 32 x 32 RGB; a ball that is lost costs 1.

    With `ball=False` all goes on as it does, but the ball is not drawn.
    """

    SIZE, PLACE = 32, 28
    palette = ()
    wait: int
    x: int
    y: int
    dx: int
    dy: int

    def __init__(self, ball: bool = True) -> None:
        self.ball = ball
        self.observation_space = gym.spaces.Box(0, 255, (self.SIZE, self.SIZE, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.paddle, self.lost = 16, 0
        self._serve()
        return self._draw(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.paddle = int(np.clip(self.paddle + (0, -2, 2)[int(action)], 3, self.SIZE - 4))
        self.wait -= 1
        if self.wait > 0:
            return self._draw(), 0.0, False, False, {}
        self.y, self.x = self.y + self.dy, self.x + self.dx
        if not 0 <= self.y < self.SIZE:
            self.dy, self.y = -self.dy, int(np.clip(self.y, 0, self.SIZE - 1))
        if self.x < 2:
            self.dx = 2
        reward = 0.0
        if self.x >= self.PLACE:
            if abs(self.y - self.paddle) <= 3:
                self.dx = -2
            else:
                reward = -1.0
                self.lost += 1
                self._serve()
        return self._draw(), reward, self.lost == 5, False, {}

    def _serve(self) -> None:
        self.wait = 6
        self.y, self.x = int(self.np_random.integers(4, self.SIZE - 4)), 6
        self.dy, self.dx = int(self.np_random.choice([-2, -1, 1, 2])), 2

    def _draw(self) -> np.ndarray:
        frame = np.full((self.SIZE, self.SIZE, 3), (144, 72, 17), np.uint8)
        frame[self.paddle - 3 : self.paddle + 4, self.PLACE] = (90, 190, 90)
        if self.ball and self.wait <= 0:
            frame[self.y, self.x] = (230, 230, 230)
        return frame


@pytest.fixture(scope="session")
def thing_cards() -> Iterator[dict[str, Card]]:
    """Register the games; return the cards of worlds of them by name."""
    cards = {}
    for game in (Catch, Pong):
        name = game.__name__
        gym.register(f"DFThings/{name}-v0", f"toys.things:{name}")
        cards[name.lower()] = toy_card(
            name=f"toy-{name.lower()}-v0",
            source=Source(f"DFThings/{name}-v0", {}, {}, "", "none"),
            frames=Frames(game.SIZE, game.SIZE, 4, 10, game.palette),
            actions=Actions(3, ("stay", "left", "right"), keys={"a": 1, "d": 2}),
            episode=Episode(200),
            rewards=Rewards((-1.0, 0.0, 1.0)),
        )
    yield cards
    for game in (Catch, Pong):
        gym.registry.pop(f"DFThings/{game.__name__}-v0")


Change = Callable[[gym.Env[Any, Any]], None]


class DoctoredDynamics:
    """A dream that is a real game, which `change` may spoil after every reset and every step.

    It shows the frame that `make().step` returned before the change, so that what is spoiled shows
    one frame later.
    """

    def __init__(
        self,
        card: Card,
        make: Callable[[], gym.Env[Any, Any]],
        num_rows: int,
        change: Change | None = None,
    ) -> None:
        self.games = [make() for _ in range(num_rows)]
        self.change, self.num_rows = change, num_rows
        first = make().reset(seed=0)[0][None]
        starts = Starts(first, np.zeros(1, np.int64), np.array([0, 1]), np.zeros(1, np.int64))
        self.world = SimpleNamespace(card=card, starts=starts)
        self.current = np.zeros((num_rows, *first.shape[1:]), np.uint8)

    def reset(
        self,
        rows: np.ndarray,
        seeds: np.ndarray,
        contexts: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Begin games of these seeds; the contexts are not looked at."""
        for row, seed in zip(rows, seeds, strict=True):
            self.current[row] = self.games[row].reset(seed=int(seed) % 2**32)[0]
            self._spoil(row)

    def frames(self) -> np.ndarray:
        """Return the current frames."""
        return self.current.copy()

    def step(self, actions: np.ndarray) -> Transition:
        """Step the games."""
        rewards, ended = np.zeros(self.num_rows), np.zeros(self.num_rows, bool)
        for row, game in enumerate(self.games):
            frame, reward, ended[row], _, _ = game.step(int(actions[row]))
            self.current[row], rewards[row] = frame, float(reward)
            self._spoil(row)
        return Transition(self.frames(), rewards, ended, ended * 1.0, rewards)

    def _spoil(self, row: int) -> None:
        if self.change is not None:
            self.change(self.games[row])
