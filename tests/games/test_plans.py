"""Plans: the scripted policies' actions for frames that have not been drawn yet."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("minatar")
pytest.importorskip("pygame")

from dfgym.games import cartpole
from dfgym.games.breakout import BreakoutPolicy
from dfgym.games.minatar import MinAtarEnv
from dfgym.games.source import Opening, Source, open_source


@pytest.fixture(scope="module")
def real() -> Iterator[Source]:
    source = open_source(Opening("CartPole-v1", size=(64, 64)))
    yield source
    source.env.close()


def breakout(policy: BreakoutPolicy, block: int, sticky: float, seed: int) -> int:
    """How many of 600 steps it survives; the first frame, in which the ball hides, alone."""
    env = MinAtarEnv(sticky_action_prob=sticky)
    policy.reset()
    frames, played, count = [env.reset(seed=seed)[0]], 0, 1
    while played < 600:
        plan = policy.plan(np.stack(frames), count)
        assert len(plan) == count
        frames, count = [], block
        for action in plan:
            frame, _, terminated, _, _ = env.step(action)
            frames.append(frame)
            played += 1
            if terminated:
                return played
    return 600


def balance(source: Source, policy: cartpole.CartPolePolicy, block: int, seed: int) -> int:
    """How many of 500 steps the pole stands."""
    policy.reset()
    frames, played = [source.frame(source.env.reset(seed=seed)[0])], 0
    while played < 500:
        plan = policy.plan(np.stack(frames), block)
        assert len(plan) == block
        frames = []
        for action in plan:
            observation, _, terminated, _, _ = source.env.step(action)
            frames.append(source.frame(observation))
            played += 1
            if terminated:
                return played
            if played == 500:
                break
    return played


@pytest.mark.parametrize("block", [4, 6])
def test_planned_breakout_never_loses_the_ball_unless_actions_stick(block: int) -> None:
    policy = BreakoutPolicy(seed=1)
    assert all(breakout(policy, block, 0.0, seed) == 600 for seed in range(10))
    sticky = [breakout(policy, block, 0.1, seed) for seed in range(20)]
    assert 200 < np.mean(sticky) < 600


@pytest.mark.parametrize("block", [4, 8])
def test_planned_cartpole_balances(real: Source, block: int) -> None:
    policy = cartpole.CartPolePolicy(seed=1)
    assert balance(real, policy, block, seed=block) == 500


def test_a_plan_needs_the_action_that_it_made() -> None:
    """Frames that do not follow from the plan are not read as if they did."""
    policy = cartpole.CartPolePolicy()
    blank = np.zeros((3, 64, 64, 3), np.uint8)
    assert policy.plan(blank, 4) == [cartpole.LEFT] * 4 and policy.readings == []
    policy.readings, policy.actions, policy.planned = [(0.0, 0.0)], [None], [1, 1]
    assert policy.plan(blank, 1) == [cartpole.LEFT] and policy.actions == [None]


@pytest.mark.parametrize(("epsilon", "dawdle"), [(0.0, 0.0), (0.2, 0.5)])
def test_a_plan_of_one_is_a_call(real: Source, epsilon: float, dawdle: float) -> None:
    env = MinAtarEnv()
    pairs = [(BreakoutPolicy, env.reset, env.step, lambda frame: frame)]
    pairs.append((cartpole.CartPolePolicy, real.env.reset, real.env.step, real.frame))  # type: ignore[arg-type]
    for make, reset, step, draw in pairs:
        caller, planner = make(epsilon, 3, dawdle), make(epsilon, 3, dawdle)
        frame = draw(reset(seed=4)[0])
        for _ in range(150):
            action = caller(frame)
            assert planner.plan(frame[None], 1) == [action]
            observation, _, terminated, _, _ = step(action)
            if terminated:
                break
            frame = draw(observation)


def test_a_plan_does_not_move_the_remembered_ball() -> None:
    env, policy = MinAtarEnv(sticky_action_prob=0.0), BreakoutPolicy(seed=2)
    frame, _ = env.reset(seed=5)
    for _ in range(60):
        action, *_ = policy.plan(frame[None], 12)
        assert policy.ball is None or policy.ball[:2] == (env.game.ball_x, env.game.ball_y)
        frame, *_ = env.step(action)


def test_epsilon_and_seed_hold_for_every_planned_action() -> None:
    blank = np.zeros((1, 10, 10, 3), np.uint8)
    for make in (BreakoutPolicy, cartpole.CartPolePolicy):
        one, again, other = (make(1.0, seed).plan(blank, 400) for seed in (1, 1, 2))
        assert one == again != other
        shares = np.bincount(one) / 400
        assert np.allclose(shares, 1 / len(shares), atol=0.1)
        assert len(set(make(0.0, 1).plan(blank, 400))) == 1


@pytest.mark.parametrize("make", [BreakoutPolicy, cartpole.CartPolePolicy])
def test_an_empty_plan_is_refused(make: Callable[[], Any]) -> None:
    frames = np.zeros((1, 10, 10, 3), np.uint8)
    for some, count in ((frames[:0], 1), (frames, 0)):
        with pytest.raises(ValueError, match="expected 1 or more of each"):
            make().plan(some, count)


@settings(max_examples=50, deadline=None)
@given(
    state=st.tuples(*(st.floats(-limit, limit) for limit in (2.0, 3.0, 0.2, 3.0))),
    action=st.sampled_from([cartpole.LEFT, cartpole.RIGHT]),
)
def test_the_player_knows_the_equations_of_motion(real: Source, state: Any, action: int) -> None:
    real.env.reset(seed=0)
    game = real.env.unwrapped
    game.state = np.array(state)  # type: ignore[attr-defined]
    game.step(action)
    assert np.allclose(cartpole.advance(state, action), game.state, rtol=0, atol=1e-12)  # type: ignore[attr-defined]
