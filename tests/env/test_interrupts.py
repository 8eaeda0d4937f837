"""An interrupt or a second thread in the middle of a call leaves no half of it."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import dfgym
from dfgym.env.env import DreamEnv
from dfgym.env.vector import DreamVectorEnv
from dfgym.errors import StateError
from dfgym.world import bundle
from dfgym.world.dynamics import Dynamics
from dfgym.world.exclusive import Exclusive
from dfgym.world.settings import Settings

PACKAGE = str(Path(dfgym.__file__).parent)


def interrupt(call: Callable[[], Any], line: int) -> bool:
    """Call, and raise KeyboardInterrupt before dfgym's line number `line`; was it reached?"""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.fixture
def env(random_world: Path) -> DreamEnv:
    env = DreamEnv(random_world, device="cpu")
    env.reset(seed=3)
    return env


def test_an_interrupted_step_is_taken_whole_or_not_at_all(env: DreamEnv) -> None:
    before = env.clone_state()
    env.step(1)
    after = env.clone_state()
    outcomes = []
    for line in itertools.count():
        env.restore_state(before)
        if not interrupt(lambda: env.step(1), line):
            break
        outcomes.append(env.clone_state())
    assert set(outcomes) == {before, after}
    assert outcomes.count(before) > 100
    # and no owner is left behind that would refuse another thread
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(env.step(1)))
    thread.start()
    thread.join()
    assert len(results) == 1


def test_an_interrupted_reset_or_restore_leaves_no_old_episode_on_a_new_past(env: DreamEnv) -> None:
    env.step(1)
    before = env.clone_state()
    env.reset(seed=9)
    other = env.clone_state()
    for call in (lambda: env.reset(seed=9), lambda: env.restore_state(other)):
        for line in itertools.count():
            env.restore_state(before)
            if not interrupt(call, line):
                break
            if env.clone_state() not in (before, other):
                with pytest.raises(StateError, match="has ended"):
                    env.step(0)
    env.reset(seed=9)
    assert env.clone_state() == other


def crowd(call: Callable[[], Any], threads: int = 4, times: int = 40) -> tuple[int, list[str]]:
    """Call from several threads at once; returns how many calls came back, and the refusals."""
    done, refusals, start = [], [], threading.Barrier(threads)

    def work() -> None:
        start.wait()
        for _ in range(times):
            try:
                done.append(call())
            except StateError as error:
                refusals.append(str(error))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(done), refusals


def test_threads_that_step_one_environment_lose_no_step(random_world: Path) -> None:
    env = DreamVectorEnv(2, max_episode_steps=-1, world=random_world, device="cpu")
    env.reset(seed=0)
    begun = env.dynamics.present.time.clone()
    done, refusals = crowd(lambda: env.step(np.zeros(2, np.int64)))
    assert refusals and "another thread" in refusals[0] and "give each its own" in refusals[0]
    assert done + len(refusals) == 160
    ended = env._rows.episodes  # type: ignore[union-attr]
    if (ended == 0).all():
        assert (env.dynamics.present.time - begun == done).all()


def test_threads_that_step_one_dynamics_lose_no_step(random_world: Path) -> None:
    world = bundle.load(random_world)
    dynamics = Dynamics(world, 1, Settings("cpu"))
    frames, actions = world.starts.episode(0)
    dynamics.reset(np.arange(1), np.arange(1), [(frames[:1], actions[:0])])
    done, refusals = crowd(lambda: dynamics.step(np.zeros(1, np.int64)))
    assert int(dynamics.present.time) == 1 + done
    assert refusals and done + len(refusals) == 160


def test_a_state_cloned_beside_a_step_is_one_that_was(env: DreamEnv) -> None:
    states, clones, running = [env.clone_state()], [], True

    def clone() -> None:
        while running:
            try:
                clones.append(env.clone_state())
                clones.append(pickle.loads(pickle.dumps(env)).clone_state())
            except StateError:
                pass

    thread = threading.Thread(target=clone)
    thread.start()
    ended = False
    while len(states) < 200 and not ended:
        try:
            ended = any(env.step(1)[2:4])
        except StateError:  # the other thread is cloning
            pass
        else:
            while True:
                try:
                    states.append(env.clone_state())
                    break
                except StateError:
                    pass
    running = False
    thread.join()
    assert clones and set(clones) <= set(states)


def test_a_copy_and_a_fork_of_an_owned_guard_are_free() -> None:
    guard, entered, release = Exclusive("a toy"), threading.Event(), threading.Event()

    def hold() -> None:
        with guard:
            entered.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    try:
        with pytest.raises(StateError, match="a toy"), guard:
            pass
        for other in (copy.deepcopy(guard), pickle.loads(pickle.dumps(guard))):
            with other:
                pass
        child = os.fork()
        if child == 0:
            with guard:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        release.set()
        thread.join()
    with guard:
        pass
