"""How fast a world is stepped as its users step it, and what shells add to its dynamics."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import gymnasium as gym
import numpy as np

import dfgym  # registers the ids
from dfgym.bench.clock import SectionClock, check_seconds, durations, percentiles
from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.world import shelf
from dfgym.world.settings import Settings

if TYPE_CHECKING:
    from dfgym.world.card import Card
    from dfgym.world.dynamics import Dynamics

BATCH = 64
NETWORK = (
    "dfgym::cache_position",
    "dfgym::denoise",
    "dfgym::predict_frame",
    "dfgym::commit",
    "dfgym::predict_transition",
)
"""The sections of a step that are spent in the network; they do not overlap."""
NUM_ACTIONS = 997
"""The actions of so many steps are drawn beforehand and then repeated."""

World = str | os.PathLike[str]
Shell = Literal["env", "vector", "sb3"]


def bench(
    world: World = shelf.DEFAULT, seconds: float = 5.0, settings: Settings = Settings()
) -> dict[str, Any]:
    """Time `gym.make`, and `gym.make_vec` of 64, under random actions.

    Args:
        world: a name on the shelf, or the path of a folder.
        seconds: the length of each of the two measurements, after a tenth of it to warm up.
        settings: how the world is run.

    Returns:
        `single_steps_per_second`, `vector_frames_per_second` (64 a step), each with the median, the
        95th and the 99th percentile of a step in milliseconds, `outside_network` (the share of a
        vector step that is not spent in the network), `device` and `threads`.

    Raises:
        ConfigError: `seconds` is not above 0, or another value is not allowed.
        WorldError: there is no such world, or it is damaged.
    """
    check_seconds(seconds)
    env = _open("env", world, 1, settings)
    single = durations(env.step, seconds)
    env.close()
    batch = vector(world, BATCH, seconds, settings)
    return {
        "single_steps_per_second": float(1 / single.mean()),
        **{f"single_{name}": value for name, value in percentiles(single).items()},
        "vector_frames_per_second": batch["frames_per_second"],
        **{f"vector_{name}": value for name, value in batch.items() if name.endswith("_ms")},
        "outside_network": batch["outside_network"],
        "device": str(env.dynamics.device),
        "threads": env.dynamics.threads.count,
    }


def vector(
    world: World, rows: int, seconds: float, settings: Settings = Settings()
) -> dict[str, float]:
    """Time `gym.make_vec` under random actions.

    Args:
        world: a name on the shelf, or the path of a folder.
        rows: `num_envs`.
        seconds: the length of the measurement, after a tenth of it to warm up.
        settings: how the world is run.

    Returns:
        `batch`, `frames_per_second` (`rows` a step), `p50_ms`, `p95_ms` and `p99_ms` of a step, and
        `outside_network`, the share of a step that is not spent in the network.
    """
    env, clock = _open("vector", world, rows, settings), SectionClock(*NETWORK)
    env.dynamics.section = clock
    times = durations(env.step, seconds, clock.clear)
    env.close()
    return {
        "batch": rows,
        "frames_per_second": float(rows / times.mean()),
        **percentiles(times),
        "outside_network": float(1 - sum(clock.seconds.values()) / times.sum()),
    }


def shells(
    world: World, rows: int, seconds: float, settings: Settings = Settings()
) -> dict[str, float]:
    """Measure what shells add to the time spent in the dynamics below them, in the same calls.

    Args:
        world: a name on the shelf, or the path of a folder.
        rows: the rows of the batched shells.
        seconds: the length of each of the three measurements.
        settings: how the world is run.

    Returns:
        `env` (`gym.make`), `vector` (`gym.make_vec`) and `sb3` (`dfgym.make_sb3`): the time outside
        `Dynamics.step` and `Dynamics.reset` over the time in them, so 0.02 is 2 % more.
    """
    added: dict[str, float] = {}
    for shell in get_args(Shell):
        env = _open(shell, world, rows, settings)
        clock = SectionClock("dfgym::step", "dfgym::reset")
        env.dynamics.section = clock
        total = durations(env.step, seconds, clock.clear).sum()
        env.close()
        added[shell] = float(total / sum(clock.seconds.values()) - 1)
    return added


def random_actions(card: Card, rows: int) -> np.ndarray:
    """Draw the actions of `NUM_ACTIONS` steps of so many rows, `(steps, rows, ...)`.

    They are drawn beforehand, so that drawing them is not timed.
    """
    space = card.actions
    actions = space.sample(np.random.default_rng(0), NUM_ACTIONS * rows)
    return actions.reshape(NUM_ACTIONS, rows, *space.row_shape)


class _Opened(NamedTuple):
    """An environment in its first episode, whatever its interface.

    Attributes:
        dynamics: the state machine below it.
        step: a function that takes a step under a random action.
        close: a function that closes it.
    """

    dynamics: Dynamics
    step: Callable[[], Any]
    close: Callable[[], Any]


def _open(shell: Shell, world: World, rows: int, settings: Settings) -> _Opened:
    keywords = {"world": os.fspath(world), **vars(settings)}
    card = shelf.card(world)
    batches = random_actions(card, rows)
    actions = itertools.cycle(
        [card.actions.native(batch[0] if shell == "env" else batch) for batch in batches]
    )
    if shell == "sb3":
        sb3 = dfgym.make_sb3("DFWorld-v0", num_envs=rows, **keywords)
        sb3.seed(0)
        sb3.reset()
        return _Opened(sb3.get_attr("dynamics")[0], lambda: sb3.step(next(actions)), sb3.close)
    if shell == "vector":
        envs = gym.make_vec("DFWorld-v0", num_envs=rows, **keywords)
        envs.reset(seed=0)
        assert isinstance(envs.unwrapped, DreamVectorEnv)
        return _Opened(envs.unwrapped.dynamics, lambda: envs.step(next(actions)), envs.close)
    env = gym.make("DFWorld-v0", **keywords)
    env.reset(seed=0)
    assert isinstance(env.unwrapped, DreamEnv)

    def step() -> None:
        _, _, terminated, truncated, _ = env.step(next(actions))
        if terminated or truncated:
            env.reset()

    return _Opened(env.unwrapped.dynamics, step, env.close)
