"""MinAtar Space Invaders: a scripted policy that sees only pixels, and the judge of its rules.

A frame shows the cannon, the direction of the aliens and nearly all cells; it does not show the
three timers (until the aliens move, until they shoot, until the cannon is loaded), how fast this
wave is, what a bullet covers, and the action that a sticky action repeats. The policy counts the
steps itself, and the judge keeps the set of hidden states that fit all that was drawn
(`dfgym.games.rules`).

Terms: a shot is the player's bullet, a bomb is an alien's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from dfgym.games import Game, Seed, begin_play, check_plan, rules
from dfgym.games.minatar import (
    SIZE,
    STICKINESS,
    MinAtarEnv,
    env_id,
    palette,
    read_cells,
    red_table,
)
from dfgym.games.rules import Outcome

# What a cell shows, in the order in which the game draws: the highest one hides the others. (The
# game also has a channel 2, any alien, which those of the aliens' direction always cover.)
CANNON, LEFT_ALIEN, RIGHT_ALIEN, SHOT, BOMB = 1, 3, 4, 5, 6
CHANNELS = 6
NOOP, LEFT, RIGHT, FIRE = range(4)
MOTION = {NOOP: 0, LEFT: -1, RIGHT: 1, FIRE: 0}  # of the cannon, in columns
FLOOR = SIZE - 1  # the cannon's row
RELOAD = 5  # steps from one of the player's shots to the next
BOMB_INTERVAL = 10  # steps from one of the aliens' bombs to the next
SLOWEST, FASTEST = 12, 6  # steps from one move of many aliens to the next, in the first, last wave
FORESIGHT = 24  # steps to look ahead: across the field, loading, and a shot's flight
CAUTION = 4  # steps before a bomb lands within which the policy leaves its column
STRETCH = 30  # steps that the policy dawdles, or does not, at a time

Cell = tuple[int, int]  # row, column


class Scene(NamedTuple):
    """What the policy knows of the game."""

    cannon: int
    aliens: frozenset[Cell]
    direction: int
    shots: frozenset[Cell]
    bombs: frozenset[Cell]
    interval: int = SLOWEST  # of this wave
    wait: int = SLOWEST  # steps until the aliens move
    reload: int = 0  # steps until the cannon is loaded


class SpaceInvadersPolicy:
    """Plays MinAtar Space Invaders: leave the column of a bomb, else shoot where an alien will be.

    Frames are uint8 `(10 k, 10 k, 3)` with any cell size k.

    Args:
        dawdle: the share of the time, in [0, 1], in which the policy does not shoot but wanders,
            still out of the bombs' way, so that the aliens come down.
    """

    _code = red_table(palette(CHANNELS))

    def __init__(self, epsilon: float = 0.0, seed: Seed = 0, dawdle: float = 0.0) -> None:
        self.random = begin_play(epsilon, dawdle, seed)
        self.epsilon, self.dawdle = epsilon, dawdle
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the generator goes on."""
        self.scene: Scene | None = None
        self.clock = 0
        self.idle = False

    def __call__(self, observation: np.ndarray) -> int:
        """Choose an action on seeing a frame."""
        return self.plan(observation[None], 1)[0]

    def plan(self, observations: np.ndarray, count: int) -> list[int]:
        """Choose the action for now and, as the game should go on, those after it.

        The first is what `__call__` would choose; the others follow from the game's rules, by
        which every action is obeyed. A bomb that has not been dropped yet is not foreseen, so a
        plan of more than six actions can walk into one.
        """
        check_plan(observations, count)
        for observation in observations:
            self.scene = self._observe(observation)
        assert self.scene is not None
        actions = [self._choose(self.scene)]
        scene, clock, idle = self.scene, self.clock, self.idle
        while len(actions) < count:
            scene = _advance(scene, actions[-1])
            self._tick()
            actions.append(self._choose(scene))
        self.clock, self.idle = clock, idle
        return actions

    def _observe(self, observation: np.ndarray) -> Scene:
        """Read the frame; what it does not show follows from the scene before."""
        self._tick()
        cell = observation.shape[0] // SIZE
        code = self._code[observation[::cell, ::cell, 0]]
        aliens, shots, bombs = (
            frozenset((int(y), int(x)) for y, x in np.argwhere(mask))
            for mask in ((code == LEFT_ALIEN) | (code == RIGHT_ALIEN), code == SHOT, code == BOMB)
        )
        before = self.scene
        cannon = code[FLOOR].tobytes().find(CANNON)
        if cannon < 0:
            cannon = before.cannon if before else SIZE // 2
        direction = -1 if (code == LEFT_ALIEN).any() else 1
        scene = Scene(cannon, aliens, direction, shots, bombs)
        if before is None:
            return scene
        interval, wait = before.interval, max(before.wait - 1, 0)
        if len(aliens) > len(before.aliens) + 3:  # a new wave, which keeps the timer of the last
            interval = max(interval - 1, FASTEST)
        elif aliens - before.aliens - before.shots - before.bombs:
            wait = max(min(len(aliens), interval) - 1, 0)
        fired = any(row == FLOOR - 1 for row, _ in shots)
        reload = RELOAD - 1 if fired else max(before.reload - 1, 0)
        return scene._replace(interval=interval, wait=wait, reload=reload)

    def _tick(self) -> None:
        """Count a frame; at the beginning of each stretch, decide whether to dawdle in it."""
        if self.dawdle and self.clock % STRETCH == 0:
            self.idle = bool(self.random.random() < self.dawdle)
        self.clock += 1

    def _choose(self, scene: Scene) -> int:
        """Choose an action for a scene."""
        if self.epsilon and self.random.random() < self.epsilon:
            return int(self.random.integers(4))
        offsets = _foresee(scene)
        risks = [_risk(scene, offsets, action) for action in range(4)]
        wish = int(self.random.integers(3)) if self.idle else _aim(scene, offsets)
        # The wish if it is as safe as any; else the safest, towards the middle if there are two.
        return min(
            range(4),
            key=lambda action: (
                risks[action],
                action != wish,
                abs(2 * (scene.cannon + MOTION[action]) - FLOOR),
            ),
        )


def _foresee(scene: Scene) -> list[Cell]:
    """Return how far the aliens will have moved, rows and columns, after 0, 1, 2... steps."""
    columns = [x for _, x in scene.aliens] or [0]
    first, last = min(columns), max(columns)
    down = across = 0
    direction, wait = scene.direction, scene.wait
    offsets = [(0, 0)]
    for _ in range(FORESIGHT):
        if wait == 0:
            wait = max(min(len(scene.aliens), scene.interval), 1)
            if (last + across >= FLOOR) if direction > 0 else (first + across <= 0):
                direction, down = -direction, down + 1
            else:
                across += direction
        wait -= 1
        offsets.append((down, across))
    return offsets


def _victim(aliens: Iterable[Cell], offsets: list[Cell], shot: Cell, start: int = 0) -> Cell | None:
    """Return the present cell of the alien that a shot at this cell at step `start` will hit."""
    row, column = shot
    for step in range(1, row + 1):
        if start + step >= len(offsets):
            return None
        down, across = offsets[start + step]
        cell = row - step - down, column - across
        if cell in aliens:
            return cell
    return None


def _aim(scene: Scene, offsets: list[Cell]) -> int:
    """Return the action that leads to the next hit soonest."""
    alive = set(scene.aliens)
    for shot in sorted(scene.shots):
        victim = _victim(alive, offsets, shot)
        if victim is not None:
            alive.remove(victim)
    columns = sorted(range(SIZE), key=lambda column: abs(column - scene.cannon))
    for column in columns:
        start = max(abs(column - scene.cannon), scene.reload)
        if _victim(alive, offsets, (FLOOR, column), start) is not None:
            if column == scene.cannon:
                return FIRE if scene.reload == 0 else NOOP
            return LEFT if column < scene.cannon else RIGHT
    return NOOP


def _risk(scene: Scene, offsets: list[Cell], action: int) -> int:
    """Return how soon the column where an action leads is hit: 0 for not soon."""
    column = min(max(scene.cannon + MOTION[action], 0), FLOOR)
    risk = 0
    for down, across in offsets[:2]:
        if (FLOOR - down, column - across) in scene.aliens:
            risk = CAUTION + 1
    for row, at in scene.bombs:
        steps = FLOOR - row
        if at == column and 1 <= steps <= CAUTION:
            risk = max(risk, CAUTION + 1 - steps)
    return risk


def _advance(scene: Scene, action: int) -> Scene:
    """Foresee the next scene by the rules, if the action is obeyed."""
    cannon = min(max(scene.cannon + MOTION[action], 0), FLOOR)
    shots = {(y - 1, x) for y, x in scene.shots if y > 0}
    reload = max(scene.reload - 1, 0)
    if action == FIRE and scene.reload == 0:
        shots.add((FLOOR - 1, cannon))
        reload = RELOAD - 1
    down, across = _foresee(scene)[1]
    aliens = {(y + down, x + across) for y, x in scene.aliens}
    moves = scene.wait == 0
    wait = max(min(len(aliens), scene.interval), 1) if moves else scene.wait
    hits = aliens & shots
    return scene._replace(
        cannon=cannon,
        aliens=frozenset(aliens - hits),
        direction=-scene.direction if down else scene.direction,
        shots=frozenset(shots - hits),
        bombs=frozenset((y + 1, x) for y, x in scene.bombs if y < FLOOR),
        wait=wait - 1,
        reload=reload,
    )


class Hidden(NamedTuple):
    """What a frame does not show: all but the cannon and a bomb, which nothing covers.

    The rules ask of a timer only whether it is zero, and the three do not depend on each other. So
    each is a set of values here, and one `Hidden` stands for all their combinations.
    """

    aliens: bytes  # bool (10, 10), with those under bullets
    shots: bytes  # bool (10, 10), with one under a bomb
    direction: int
    interval: int
    move: frozenset[int]
    bomb: frozenset[int]
    reload: frozenset[int]
    last_action: int


class RuleBook:
    """The real game as a rule book: put into any state, it draws what follows."""

    def __init__(self) -> None:
        env = MinAtarEnv("space_invaders")
        self.palette = env.palette
        self._game: Any = env.game
        self._codes = env.action_set  # the environment's action number -> the game's own
        self._ranks = np.arange(1, CHANNELS + 1, dtype=np.int8)
        self._game.reset()
        self._wave = self._game.alien_map > 0

    def first(self, cells: np.ndarray) -> set[Hidden]:
        """Return the hidden state of the game's start if it draws these cells.

        The picture stays the same for some steps if the cannon does, so an episode that is cut
        within them must not be judged as if it were whole.
        """
        game = self._game
        game.reset()
        if not np.array_equal(self._draw(), cells):
            return set()
        timers = (game.alien_move_timer, game.alien_shot_timer, game.shot_timer)
        return {self._hidden((frozenset([timer]) for timer in timers), last_action=NOOP)}

    def act(
        self, cells: np.ndarray, states: Iterable[Hidden], action: int, after: np.ndarray
    ) -> list[Outcome]:
        """Return every way in which one of the states, which draw `cells`, draws `after` next."""
        target = after.tobytes()
        cannon = int((cells[FLOOR] == CANNON).argmax())
        bombs = (cells == BOMB).astype(float)
        results: dict[tuple[Hidden, int], list[Outcome]] = {}
        # Whether the cannon is loaded matters only to one who fires; otherwise the two cases that
        # lead to the same picture are put together again.
        loads: dict[Outcome, frozenset[int]] = {}
        for state in states:
            for executed in sorted({action, state.last_action}):
                key = (state._replace(last_action=NOOP), executed)
                if key not in results:
                    results[key] = list(self._execute(*key, cannon, bombs, target))
                for outcome in results[key]:
                    hidden: Any = outcome.hidden
                    case = Outcome(
                        hidden._replace(reload=frozenset()),
                        outcome.reward,
                        outcome.terminal,
                        sticky=executed != action,
                    )
                    loads[case] = loads.get(case, frozenset()) | hidden.reload
        return [
            case._replace(hidden=case.hidden._replace(reload=reload))  # type: ignore[attr-defined]
            for case, reload in loads.items()
        ]

    def _execute(
        self, state: Hidden, executed: int, cannon: int, bombs: np.ndarray, target: bytes
    ) -> Iterator[Outcome]:
        """Carry out one action with every combination of timers that makes a difference."""
        game = self._game
        timers = (state.move, state.bomb, state.reload)
        for groups in product(*map(_split, timers)):
            before = [min(group) for group in groups]
            game.pos, game.terminal = cannon, False
            game.e_bullet_map = bombs.copy()
            game.alien_map = _grid(state.aliens)
            game.f_bullet_map = _grid(state.shots)
            game.alien_dir, game.enemy_move_interval = state.direction, state.interval
            game.alien_move_timer, game.alien_shot_timer, game.shot_timer = before
            reward, terminal = game.act(self._codes[executed])
            if self._draw().tobytes() != target:
                continue
            now = game.alien_move_timer, game.alien_shot_timer, game.shot_timer
            moved = (
                frozenset(int(timer + new - old) for timer in group)
                for group, old, new in zip(groups, before, now, strict=True)
            )
            hidden = self._hidden(moved, last_action=executed)
            yield Outcome(hidden, float(reward), bool(terminal), sticky=False)

    def drawing(self, cells: np.ndarray) -> Iterable[Hidden]:
        """Return every hidden state, of a game that goes on, that draws these cells.

        A few of them (as a fast wave after few kills) no play may ever reach; what is drawn next
        soon rules them out.
        """
        count = np.bincount(cells.ravel() + 1, minlength=CHANNELS + 2)[1:]
        # One cannon, in the last row; aliens of one direction; a bomb at most; no foreign colour.
        if (
            (cells < 0).any()
            or count[CANNON] != 1
            or not (cells[FLOOR] == CANNON).any()
            or count[2]
            or (count[LEFT_ALIEN] and count[RIGHT_ALIEN])
            or count[BOMB] > 1
        ):
            return
        directions = [
            direction
            for direction, other in ((-1, RIGHT_ALIEN), (1, LEFT_ALIEN))
            if not count[other]
        ]
        # A bomb was dropped in its own row or above; every row since took a step.
        oldest = int(np.argwhere(cells == BOMB)[0, 0]) if count[BOMB] else BOMB_INTERVAL - 1
        bomb = frozenset(range(BOMB_INTERVAL - 1 - oldest, BOMB_INTERVAL))
        for aliens, shots in self._covered(cells):
            rows = np.flatnonzero(shots.any(1))
            # Shots are some steps, and so rows, apart.
            if not aliens.any() or len(rows) < shots.sum() or (np.diff(rows) < RELOAD).any():
                continue
            newest = int(rows.max(initial=0))
            if newest == FLOOR:
                continue
            loading = newest - (FLOOR - RELOAD)  # since no later shot can have hit and vanished
            reload = frozenset([loading] if loading >= 0 else range(RELOAD))
            for direction, interval, last_action in product(
                directions, range(FASTEST, SLOWEST + 1), range(len(self._codes))
            ):
                move = frozenset(range(interval))
                grids = aliens.tobytes(), shots.tobytes()
                yield Hidden(*grids, direction, interval, move, bomb, reload, last_action)

    def _covered(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return the aliens and shots, bool `(10, 10)` each, that may be there."""
        aliens = (cells == LEFT_ALIEN) | (cells == RIGHT_ALIEN)
        shots, bomb = cells == SHOT, cells == BOMB
        yield aliens, shots
        if bomb.any():
            yield aliens | bomb, shots
            yield aliens, shots | bomb
        # A new wave appears under whatever flies there; later an alien under a shot is hit.
        bullets = self._wave & (shots | bomb)
        if bullets.any() and np.array_equal(aliens | bullets, self._wave):
            if (self._wave & shots).any():
                yield self._wave, shots
            if (self._wave & bomb).any():
                yield self._wave, shots | bomb

    def _hidden(self, timers: Iterable[frozenset[int]], last_action: int) -> Hidden:
        game = self._game
        grids = (game.alien_map > 0).tobytes(), (game.f_bullet_map > 0).tobytes()
        pace = int(game.alien_dir), int(game.enemy_move_interval)
        move, bomb, reload = timers
        return Hidden(*grids, *pace, move, bomb, reload, last_action)

    def _draw(self) -> np.ndarray:
        """Return the cells as the game shows its state (`minatar.Environment.display_state`)."""
        cells: np.ndarray = (self._game.state() * self._ranks).max(axis=2)
        return cells


def _split(timer: frozenset[int]) -> list[frozenset[int]]:
    """Part a timer's values into zero and the others."""
    zero = timer & {0}
    return [group for group in (zero, timer - zero) if group]


def _grid(flags: bytes) -> np.ndarray:
    """Turn bool `(10, 10)` as bytes into the game's own kind of map."""
    return np.frombuffer(flags, bool).reshape(SIZE, SIZE).astype(float)


def read_timers(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Read which transitions between frames, uint8 `(t, 10, 10, 3)`, ran the aliens' timers out.

    A bomb that has not fallen from the cell above was just dropped; aliens where none were, and
    nothing hid one, have moved, unless a new wave makes them more.
    """
    cells = read_cells(frames, palette(CHANNELS))
    bombs, aliens = cells == BOMB, np.isin(cells, (LEFT_ALIEN, RIGHT_ALIEN))
    fallen = np.zeros_like(bombs[1:])
    fallen[:, 1:] = bombs[:-1, :-1]
    before = (aliens | bombs | (cells == SHOT))[:-1]
    more = aliens[1:].sum((1, 2)) > before.sum((1, 2))
    return {
        "aliens move": (aliens[1:] & ~before).any((1, 2)) & ~more,
        "an alien shoots": (bombs[1:] & ~fallen).any((1, 2)),
    }


GAME = Game(
    env_id("space_invaders"),
    SpaceInvadersPolicy,
    frame=(SIZE, SIZE),
    judge=rules.judge_by(RuleBook),
    timers=read_timers,
    harmless=STICKINESS,
)
