"""MinAtar brought to Gymnasium: its rules, its colours, its seeds."""

import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("minatar")

import gymnasium as gym
from gymnasium.utils.env_checker import check_env
from minatar.environments.breakout import Env as Breakout

import dfgym  # noqa: F401  registers the id
from dfgym.errors import ActionError, ConfigError, DfgymError, MissingPackageError
from dfgym.games.minatar import GAMES, MinAtarEnv, palette
from toys import fresh

BLACK, PADDLE, BALL, TRAIL, BRICK = palette(4)


def play(env: gym.Env, seed: int, steps: int = 300) -> list[tuple]:
    chance = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    log: list[tuple] = [(observation.tobytes(),)]
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(int(chance.integers(3)))
        log.append((observation.tobytes(), reward, terminated, truncated))
        assert info == {} and type(reward) is float and type(terminated) is bool
        if terminated:
            observation, _ = env.reset()
            log.append((observation.tobytes(),))
    return log


@pytest.mark.parametrize("game", GAMES)
def test_every_game_passes_gymnasiums_checker(game: str) -> None:
    check_env(MinAtarEnv(game), skip_render_check=True)


def test_the_registered_id_makes_it() -> None:
    env = gym.make("DFSource/MinAtar-Breakout-v0", render_mode="rgb_array")
    check_env(env.unwrapped)
    assert isinstance(env.unwrapped, MinAtarEnv)
    assert env.reset(seed=0)[0].shape == (10, 10, 3)
    assert env.unwrapped.action_meanings == ["noop", "left", "right"]


def test_palette_is_seaborns_cubehelix() -> None:
    # Read off seaborn 0.13.2 with matplotlib 3.11.2: color_palette("cubehelix", 4) * 255, rounded.
    expected = [[0, 0, 0], [22, 61, 78], [84, 121, 47], [208, 126, 147], [193, 202, 243]]
    assert palette(4).tolist() == expected
    assert palette(4).dtype == np.uint8


def test_frame_shows_the_last_of_the_channels_that_overlap() -> None:
    env = MinAtarEnv()
    frame, _ = env.reset(seed=0)
    assert (frame[1:4] == BRICK).all()  # the ball is served under the bricks
    assert (frame[9, 4] == PADDLE).all() and (frame[9, :4] == BLACK).all()
    state = env.game.state()
    frame, *_ = env.step(0)
    game = env.game
    assert (frame[game.ball_y, game.ball_x] == BALL).all()
    for _ in range(3):
        frame, *_ = env.step(0)
    assert (frame[game.last_y, game.last_x] == TRAIL).all()
    assert state.dtype == bool  # MinAtar's own state is left as it was


def test_same_seed_same_game_and_other_seed_another() -> None:
    assert play(MinAtarEnv(), 3) == play(MinAtarEnv(), 3)
    assert play(MinAtarEnv(), 3) != play(MinAtarEnv(), 4)


def test_an_episode_is_a_function_of_its_seed_whatever_was_played_before() -> None:
    fresh, used = MinAtarEnv(sticky_action_prob=0.5), MinAtarEnv(sticky_action_prob=0.5)
    play(used, 8)
    used.step(2)  # MinAtar itself would let this action stick into the next episode
    assert play(fresh, 5, 8) == play(used, 5, 8)


def test_the_global_generators_are_left_alone() -> None:
    np.random.seed(0)
    before = np.random.get_state(legacy=False)["state"]["key"].copy()
    play(MinAtarEnv(), 0, 20)
    assert (np.random.get_state(legacy=False)["state"]["key"] == before).all()


def test_rules_are_minatars_without_sticky_actions() -> None:
    env, game = MinAtarEnv(sticky_action_prob=0.0), Breakout()
    env.reset(seed=1)
    game.random = np.random.RandomState()
    game.reset()
    game.ball_x, game.ball_dir = env.game.ball_x, env.game.ball_dir
    game.last_x = game.ball_x
    chance = np.random.default_rng(0)
    for _ in range(200):
        action = int(chance.integers(3))
        _, reward, terminated, _, _ = env.step(action)
        assert (reward, terminated) == game.act([0, 1, 3][action])
        assert (env.game.state() == game.state()).all()
        if terminated:
            break


def test_share_of_sticky_actions_is_the_asked_one() -> None:
    env, chance, stuck, steps = MinAtarEnv(sticky_action_prob=0.1), np.random.default_rng(0), 0, 0
    env.reset(seed=0)
    for _ in range(6000):
        action = int(chance.integers(3))
        last = env.last_action
        _, _, terminated, _, _ = env.step(action)
        if env.action_set[action] != last:  # else both outcomes are the same
            stuck += env.last_action == last
            steps += 1
        if terminated:
            env.reset()
            assert env.last_action == 0
    assert 0.085 < stuck / steps < 0.115


@pytest.mark.parametrize("action", [3, -1, 1.0, np.nan, "left", np.array([1])])
def test_an_invalid_action_is_refused_before_the_game_moves(action: Any) -> None:
    env = MinAtarEnv()
    env.reset(seed=0)
    before, chance = env.game.state(), env.game.random.get_state()[2]
    with pytest.raises(ActionError, match=r"expected an integer in \[0, 2\]"):
        env.step(action)
    assert (env.game.state() == before).all() and env.game.random.get_state()[2] == chance


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"game": "pong"}, "`game` is 'pong'; allowed are asterix, breakout"),
        (
            {"sticky_action_prob": 1.0},
            "`sticky_action_prob` is 1.0; expected a number",
        ),
        ({"render_mode": "human"}, "`render_mode` is 'human'; allowed are 'rgb_array' and None"),
    ],
)
def test_bad_keywords_are_named(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MinAtarEnv(**keywords)


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minatar.environments.breakout", None)
    with pytest.raises(MissingPackageError, match=r'pip install "dfgym\[minatar\]"') as caught:
        MinAtarEnv()
    assert isinstance(caught.value, DfgymError)


IMPORT = """
import logging, sys
from dfgym.games.minatar import MinAtarEnv
MinAtarEnv()
assert "seaborn" not in sys.modules and "scipy.stats" not in sys.modules
root = logging.getLogger()
assert not root.handlers and not root.filters
from minatar import Environment, environment
assert environment.sns.color_palette("cubehelix", 4)  # as its own window does
assert environment.sns.color_palette is sys.modules["seaborn"].color_palette
"""


def test_import_says_nothing_and_does_not_wait_for_what_draws_windows() -> None:
    done = fresh.run(IMPORT)
    assert done.returncode == 0 and done.stderr == "" and done.stdout == "", done.stderr
