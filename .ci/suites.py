"""Put every id of dfgym through the cases of Gymnasium's and Stable-Baselines3's own suites.

`python .ci/suites.py`. Those suites (tests/envs/test_envs.py, tests/test_envs.py and
tests/vector of their repositories) run over the environments that the libraries bring, so their
cases are written down here: any warning fails, too. Prints the failures and their number.
"""

from __future__ import annotations

import pickle  # noqa: TID251  what is written here is read here
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

import dfgym  # noqa: F401  registers the ids

ADVICE = "recommend.* a symmetric and normalized"
"""Both checkers say so of bounds such as Pendulum's, which are the game's own."""


def check(spec: Any) -> None:
    """Gymnasium's checker, rendering included."""
    check_env(spec.make(disable_env_checker=True).unwrapped)


def check_of_sb3(spec: Any) -> None:
    """Stable-Baselines3's checker."""
    check_env_of_sb3(spec.make().unwrapped)


def repeats_itself(spec: Any) -> None:
    """Two environments of one seed do the same."""
    one, two = spec.make(disable_env_checker=True), spec.make(disable_env_checker=True)
    assert data_equivalence(one.reset(seed=0), two.reset(seed=0), exact=True)
    one.action_space.seed(0)
    for _ in range(50):
        action = one.action_space.sample()
        step, other = one.step(action), two.step(action)
        assert data_equivalence(step, other, exact=True)
        assert one.observation_space.contains(step[0])
        if step[2] or step[3]:
            assert data_equivalence(one.reset(seed=0), two.reset(seed=0), exact=True)


def renders(spec: Any) -> None:
    """Pictures have three dimensions, the last of three colours."""
    for mode in ("rgb_array", "rgb_array_list"):
        env = spec.make(render_mode=mode)
        env.reset()
        env.step(env.action_space.sample())
        pictures = env.render()
        for picture in pictures if isinstance(pictures, list) else [pictures]:
            assert picture.ndim == 3 and picture.shape[2] == 3


def can_be_pickled(spec: Any) -> None:
    """Once it has stepped, it can be pickled, and its copy does the same."""
    env = spec.make()
    env.reset(seed=1)
    action = env.action_space.sample()
    env.step(action)
    twin = pickle.loads(pickle.dumps(env))  # noqa: S301
    assert data_equivalence(env.reset(seed=5), twin.reset(seed=5), exact=True)
    assert data_equivalence(env.step(action), twin.step(action), exact=True)


def forgives(spec: Any) -> None:
    """It warns of an option of others, and of steps after the end, and goes on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = spec.make()
        env.reset(seed=0, options={"minari_autoseed": False})
        for _ in range(400):
            env.step(env.action_space.sample())


def steps_as_a_batch(spec: Any) -> None:
    """Infos keep their keys, and observations their space, in every way to begin anew."""
    if spec.vector_entry_point is None:
        return
    for mode in AutoresetMode:
        env = gym.make_vec(spec.id, num_envs=3, autoreset_mode=mode)
        keys = set(env.reset(seed=0)[1])
        for _ in range(60):
            frames, _, terminated, truncated, infos = env.step(env.action_space.sample())
            assert keys <= set(infos) and env.observation_space.contains(frames)
            if mode is AutoresetMode.DISABLED and np.any(ended := terminated | truncated):
                env.reset(options={"reset_mask": ended})


CASES = [check, check_of_sb3, repeats_itself, renders, can_be_pickled, forgives, steps_as_a_batch]


def main() -> int:
    """Run all cases of all ids; returns 1 if one failed."""
    ids = [id for id in gym.registry if id.startswith(("DFWorld", "DFReal"))]
    failures = sum(not passes(case, gym.spec(id)) for id in ids for case in CASES)
    print(f"{len(ids)} ids, {len(ids) * len(CASES)} cases, {failures} failures")
    return bool(failures)


def passes(case: Callable[[Any], None], spec: Any) -> bool:
    """Run a case, and print how it failed, if it did."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", f".*{ADVICE}")
        try:
            case(spec)
        except Exception:  # noqa: BLE001  whatever it is, it is printed, and the next case runs
            print(f"{spec.id}: {case.__name__}")
            traceback.print_exc(limit=-2)
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
