"""A player of MiniGrid's Memory: look at the object in the first room, go to its like at the end.

The hall is 13 tiles long (7 in `minigrid_memory_s7`) and always the same. By chance are only where
the agent begins, which of two objects stands in the first room, and on which side the same one
stands at the hall's end. So no layout can be held out: a world must recall an object, and no walls.
"""

from __future__ import annotations

import numpy as np

from dfgym.games import Game, Seed, begin_play, check_plan
from dfgym.games.minigrid import (
    BALL,
    FORWARD,
    KEY,
    LEFT,
    RIGHT,
    SIZE,
    VIEW,
    WALL,
    read_view,
)

ENV = "DFSource/MiniGrid-Memory-v0"
EAST, WEST = 0, 2
OBJECTS = (KEY, BALL)
MIDDLE = VIEW // 2


class MemoryPolicy:
    """Looks at the first room's object, walks to the end and goes to the same object there.

    It counts its own turns from the start, where it looks to the east. In three of
    four episodes it is thorough: it looks back once more from the last place from which it sees the
    first object. From there the way is always as long, and a network learns far sooner to carry
    what it saw over a distance that is nearly always the same.

    Args:
        epsilon: the share of actions drawn at random instead.
        seed: of the policy's generator.
        dawdle: the share of episodes in which it looks, and then goes to an object of its liking:
            in nine of ten to the key. Were it the ball as often, neither the look nor the end
            alone would say anything of the reward, and a network would learn of neither. Who
            always dawdles goes to the ball as often: after such players a network that has learned
            the match unlearns that who has not looked is paid.
    """

    def __init__(self, epsilon: float = 0.0, seed: Seed = 0, dawdle: float = 0.0) -> None:
        self.random = begin_play(epsilon, dawdle, seed)
        self.epsilon, self.dawdle = epsilon, dawdle
        self._fondness = 0.5 if dawdle == 1 else 0.9  # for the key
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""
        self._heading = EAST
        self._plan: list[int] = []
        self._aim: int | None = None
        self._thorough = self.random.random() < 0.75
        self._sight = -1  # how many steps ahead it would still see the first object behind it
        self._liking: int | None = None
        if self.random.random() < self.dawdle:
            self._liking = KEY if self.random.random() < self._fondness else BALL

    def __call__(self, observation: np.ndarray) -> int:
        """Choose an action on seeing a frame."""
        action = self._choose(read_view(observation))
        if self.epsilon and self.random.random() < self.epsilon:
            action = int(self.random.integers(3))
            self._plan = []
        self._heading = (self._heading + (action == RIGHT) - (action == LEFT)) % 4
        return action

    def _choose(self, view: np.ndarray) -> int:
        if self._plan:
            return self._plan.pop(0)
        objects = view[np.isin(view, OBJECTS)]
        along = self._heading in (EAST, WEST)
        if self._aim is None and along and len(objects) == 1:  # two stand at the hall's end
            self._aim = self._liking or int(objects[0])
        if self._aim is not None and self._heading == WEST and len(objects) == 1:
            self._sight = int(np.argwhere(np.isin(view, OBJECTS))[0, 0])
        if self._aim is not None and not along and view[-3, MIDDLE] in OBJECTS:
            return FORWARD if view[-3, MIDDLE] == self._aim else RIGHT
        turn = (self._heading - (WEST if self._aim is None else EAST)) % 4
        if turn:
            return RIGHT if turn == 3 else LEFT
        if self._thorough and self._aim and self._sight == 0:
            self._thorough = False
            self._plan = [LEFT]  # to the west, from where it turns back again
            return LEFT
        if view[-2, MIDDLE] not in (WALL, *OBJECTS):
            self._sight -= 1
            return FORWARD
        sides = view[-1, [MIDDLE - 2, MIDDLE + 2]]
        if np.isin(sides, OBJECTS).all():
            return LEFT if sides[0] == self._aim else RIGHT
        self._plan = [FORWARD]  # beside the hall's mouth, or before an object
        return int(self.random.integers(2))

    def plan(self, observations: np.ndarray, count: int) -> list[int]:
        """Choose the actions for now and for the frames to come, as if those were like the last."""
        check_plan(observations, count)
        return [self(observations[-1]) for _ in range(count)]


GAME = Game(ENV, MemoryPolicy, frame=(SIZE, SIZE), harmless=frozenset({"max_steps"}))
