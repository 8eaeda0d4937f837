"""A scripted CartPole player that sees nothing but pixels, and the eye it sees with."""

from __future__ import annotations

import math

import numpy as np

# Of Gymnasium's drawing, 600 x 400 render pixels for a track of 4.8 units.
WIDTH, HEIGHT, TRACK = 600, 400, 4.8
AXLE = (HEIGHT - 107.5) / HEIGHT  # height of the pole's pivot, as a share of the frame from above
POLE = 101  # how far the pole's red exceeds its blue; of all else drawn it does not
LEFT, RIGHT = 0, 1
WANDER = 6.0  # how far out a wandering player may head; the episode ends at 2.4, and it should
PHASE = 150  # steps that it heads to one place, on average: enough to get there
GAINS = (0.05, 0.1, 1.0, 0.25)  # of position, speed (a second), angle, turn (a second)
STEP = 0.02  # seconds
# Of Gymnasium's cart and pole.
GRAVITY, FORCE, CART_MASS, POLE_MASS, HALF_LENGTH = 9.8, 10.0, 1.0, 0.1, 0.5
MEMORY = 6  # frames from which a plan reads how fast cart and pole move

State = tuple[float, float, float, float]  # position, speed (a second), angle, turn (a second)


def look(frame: np.ndarray, noise: float = 0.05) -> tuple[float, float] | None:
    """Read the cart's place and the pole's angle off a drawing of CartPole.

    A line is fitted through the pole, whose colour nothing else has, and followed to the axle.

    Args:
        frame: `(h, w, 3)`, uint8 or float in [0, 255], of any size.
        noise: less than this share of the pole's colour in a pixel, in [0, 1), is held to be a
            learned picture's noise and not seen.

    Returns:
        Position in units of the game (0 in the middle), angle in radians (positive to the right);
        None where there is too little of a pole to tell.
    """
    pole = np.clip(frame[..., 0].astype(np.float64) - frame[..., 2], 0, POLE) / POLE
    pole[pole < noise] = 0
    mass = pole.sum()
    height, width = pole.shape
    if mass < 2e-3 * height * width:  # a whole pole covers half a hundredth of the frame
        return None
    y, x = (np.arange(n) + 0.5 for n in (height, width))
    mean_y, mean_x = (pole.sum(1) @ y) / mass, (pole.sum(0) @ x) / mass
    spread = (pole.sum(1) @ (y - mean_y) ** 2) / mass
    lean = ((y - mean_y) @ pole @ (x - mean_x)) / mass / max(spread, 1e-9)
    axle = mean_x + lean * (AXLE * height - mean_y)
    angle = math.atan(-lean * (WIDTH / width) / (HEIGHT / height))
    return (axle / width - 0.5) * TRACK, angle


def advance(state: State, action: int) -> State:
    """One step by the game's equations of motion (Florian 2007, as Gymnasium has them; Euler).

    Args:
        state: position in units, speed in units a second, angle in radians, turn in radians a
            second.
        action: 0 pushes left, 1 right.
    """
    x, speed, angle, turn = state
    mass = CART_MASS + POLE_MASS
    sine, cosine = math.sin(angle), math.cos(angle)
    force = FORCE if action == RIGHT else -FORCE
    pushed = (force + POLE_MASS * HALF_LENGTH * turn**2 * sine) / mass
    inertia = HALF_LENGTH * (4 / 3 - POLE_MASS * cosine**2 / mass)
    twist = (GRAVITY * sine - cosine * pushed) / inertia
    push = pushed - POLE_MASS * HALF_LENGTH * twist * cosine / mass
    return (
        x + STEP * speed,
        speed + STEP * push,
        angle + STEP * turn,
        turn + STEP * twist,
    )


def check_shares(**shares: float) -> None:
    """Refuse a share outside [0, 1]; raises ValueError."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} {share!r} must lie in [0, 1]")


class CartPolePolicy:
    """Balances CartPole's pole by linear feedback on what it sees in the last three frames.

    Args:
        epsilon: the share of actions drawn at random instead, in [0, 1].
        seed: of the policy's own generator; an episode's actions follow from it and the frames.
        dawdle: the share of its time, in [0, 1], in which it heads for some place along the track,
            or beyond its end, instead of the middle.
    """

    def __init__(
        self,
        epsilon: float = 0.0,
        seed: int | np.random.SeedSequence = 0,
        dawdle: float = 0.0,
    ) -> None:
        check_shares(epsilon=epsilon, dawdle=dawdle)
        self.epsilon, self.dawdle = epsilon, dawdle
        self.random = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""
        self.seen: list[tuple[float, float]] = []
        self.led: list[int | None] = []  # the action that led to each; None where not known
        self.planned: list[int] = []
        self._head()

    def __call__(self, observation: np.ndarray) -> int:
        """Choose 0 (push left) or 1 (push right)."""
        return self.plan(observation[None], 1)[0]

    def plan(self, observations: np.ndarray, count: int) -> list[int]:
        """Choose the action for now and, as the game should go on, those after it.

        The first is what `__call__` would choose; the others follow from the equations of motion,
        in which every action is obeyed. If as many frames come as the last plan had actions, those
        are held to be what was done between the frames.

        Args:
            observations: `(t, h, w, 3)`, every frame since the last call, oldest first.
            count: of actions, at least 1.

        Returns:
            Actions, `count` of them.

        Raises:
            ValueError: there is no frame, or `count` is less than 1.
        """
        if len(observations) < 1 or count < 1:
            raise ValueError(
                f"plan takes at least 1 frame and makes at least 1 action, not {count}"
            )
        known = len(self.planned) == len(observations)
        done = self.planned if known else [None] * len(observations)
        for observation, action in zip(observations, done, strict=True):
            self._see(observation, action)
        self.planned = [self._choose(self._glance())]
        if count > 1:
            state = self._state()
            while len(self.planned) < count:
                if state is not None:
                    state = advance(state, self.planned[-1])
                self.planned.append(self._choose(state))
        return list(self.planned)

    def _see(self, observation: np.ndarray, action: int | None) -> None:
        if (now := look(observation)) is not None:
            self.seen = [*self.seen[1 - MEMORY :], now]
            self.led = [*self.led[1 - MEMORY :], action]

    def _choose(self, state: State | None) -> int:
        """What to do in a state; None if nothing has been seen yet."""
        if self.random.random() < 1 / PHASE:
            self._head()
        if self.epsilon and self.random.random() < self.epsilon:
            return int(self.random.integers(2))
        if state is None:
            return LEFT
        x, speed, angle, turn = state
        felt = (x - self.target, speed, angle, turn)
        return RIGHT if sum(k * s for k, s in zip(GAINS, felt, strict=True)) > 0 else LEFT

    def _glance(self) -> State | None:
        """The state as the last three frames show it, its speeds those of a moment ago."""
        if not self.seen:
            return None
        (x, angle), (old_x, old_angle) = self.seen[-1], self.seen[-3:][0]
        seconds = STEP * max(len(self.seen[-3:]) - 1, 1)
        return x, (x - old_x) / seconds, angle, (angle - old_angle) / seconds

    def _state(self) -> State | None:
        """The state as the equations of motion carry it through the frames seen last.

        The speeds are those with which the known actions lead from the oldest frame to the newest.
        """
        steps = 0  # backward, as far as the actions are known
        while steps < len(self.led) - 1 and self.led[-1 - steps] is not None:
            steps += 1
        if not steps:
            return self._glance()
        (x, angle), (now_x, now_angle) = self.seen[-1 - steps], self.seen[-1]
        speed = turn = 0.0
        for _ in range(3):  # the aim is nearly linear in the speeds
            state = x, speed, angle, turn
            for action in self.led[-steps:]:
                assert action is not None
                state = advance(state, action)
            speed += (now_x - state[0]) / (steps * STEP)
            turn += (now_angle - state[2]) / (steps * STEP)
        return state

    def _head(self) -> None:
        wanders = self.dawdle > 0 and self.random.random() < self.dawdle
        self.target = float(self.random.uniform(-WANDER, WANDER)) if wanders else 0.0
