"""MiniGrid's rooms: drawn as they are, and a player that comes back the way it went."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import dfgym
from dfgym import games
from dfgym.errors import ActionError, ConfigError
from dfgym.games import minigrid
from dfgym.games.minigrid import (
    DARK,
    FLOOR,
    FLOORS,
    FORWARD,
    GOAL,
    LEFT,
    PURPLE,
    RED,
    RIGHT,
    WALL,
)

assert dfgym.__version__  # which registers the games


@pytest.fixture
def rooms() -> minigrid.MiniGridEnv:
    pytest.importorskip("minigrid")
    env = gym.make(minigrid.ENV).unwrapped
    assert isinstance(env, minigrid.MiniGridEnv)
    return env


def test_each_tile_is_drawn_where_it_is(rooms: minigrid.MiniGridEnv) -> None:
    kinds = {None: FLOOR, "wall": WALL, "goal": GOAL}
    floors = {"red": RED, "purple": PURPLE}
    frame, _ = rooms.reset(seed=0)
    policy, compared = minigrid.ExcursionPolicy(), 0
    for _ in range(40):
        view, places = minigrid.read_view(frame), minigrid.view_places(rooms.pose)
        for row, column in np.argwhere(view != DARK):
            tile = rooms.game.grid.get(*places[row, column])
            is_floor = tile is not None and tile.type == "floor"
            kind = floors[tile.color] if is_floor else kinds[tile and tile.type]
            assert view[row, column] == kind
            assert rooms.floor(tuple(places[row, column])) == (kind if kind in FLOORS else None)
            compared += 1
        frame, _, _, _, info = rooms.step(policy(frame))
        assert (info["x"], info["y"], info["heading"]) == rooms.pose
    assert compared > 500


def test_layouts_follow_the_seed(rooms: minigrid.MiniGridEnv) -> None:
    grids = []
    for seed in (3, 3, 4):
        rooms.reset(seed=seed)
        grids.append(rooms.game.grid.encode().tobytes())
    assert grids[0] == grids[1] != grids[2]
    tiles = [rooms.floor((x, y)) for x in range(19) for y in range(19)]
    counts = [tiles.count(kind) for kind in FLOORS]
    assert sum(counts) > 200 and min(counts) > 0.25 * sum(counts), "a third of each colour"


def test_a_way_back_leads_back(rooms: minigrid.MiniGridEnv) -> None:
    for seed in range(3):
        frame, _ = rooms.reset(seed=seed)
        policy, way, pose = minigrid.ExcursionPolicy(seed=seed), [], rooms.pose
        for _ in range(12):
            way.append(policy.wander(int(minigrid.read_view(frame)[-2, 3])))
            frame, *_ = rooms.step(way[-1])
        for action in minigrid.way_back(way):
            rooms.step(action)
        assert rooms.pose == pose
    assert minigrid.way_back([LEFT, LEFT, RIGHT]) == [LEFT, RIGHT, RIGHT]


def test_the_player_leaves_and_returns_and_avoids_goals(rooms: minigrid.MiniGridEnv) -> None:
    frame, _ = rooms.reset(seed=0)
    policy, poses = minigrid.ExcursionPolicy(seed=0), []
    for _ in range(256):
        poses.append(rooms.pose)
        frame, _, terminated, _, _ = rooms.step(policy(frame))
        assert not terminated
    revisits = [poses.index(pose) for pose in poses]
    gaps = np.arange(256) - revisits
    assert (gaps > 8).mean() > 0.3, "much is shown again after more than a window"


def test_a_goal_pays_one_and_ends(rooms: minigrid.MiniGridEnv) -> None:
    rooms.reset(seed=0)
    x, y, heading = rooms.pose
    ahead = np.array((x, y)) + minigrid.HEADINGS[heading]
    goal = next(tile for tile in rooms.game.grid.grid if tile and tile.type == "goal")
    rooms.game.grid.set(*ahead, goal)
    assert rooms.step(FORWARD)[1:3] == (1.0, True)


def test_who_dawdles_all_the_time_walks_to_the_goal_in_view(rooms: minigrid.MiniGridEnv) -> None:
    """So nearly all its episodes end at a goal, and nobody else's do."""
    ends = {0.5: 0, 1.0: 0}
    for dawdle in ends:
        for seed in range(12):
            policy = minigrid.ExcursionPolicy(seed=seed, dawdle=dawdle)
            frame, _ = rooms.reset(seed=seed)
            for _ in range(200):
                frame, reward, terminated, truncated, _ = rooms.step(policy(frame))
                if terminated or truncated:
                    ends[dawdle] += int(reward)
                    break
    assert ends[1.0] >= 6 > 3 * ends[0.5], ends


def test_what_is_wrong_is_named(rooms: minigrid.MiniGridEnv) -> None:
    rooms.reset(seed=0)
    with pytest.raises(ActionError, match="`action` is 3; expected an integer in"):
        rooms.step(3)
    for changes, words in (
        ({"game": "maze"}, "`game` is 'maze'; allowed are four_rooms, memory, memory_s7"),
        ({"max_steps": 0}, "`max_steps` is 0; expected"),
        ({"render_mode": "human"}, "`render_mode` is 'human'; allowed"),
    ):
        with pytest.raises(ConfigError, match=words):
            minigrid.MiniGridEnv(**changes)


def test_the_game_is_known_by_its_id() -> None:
    game = games.find(minigrid.ENV, (8, 8), {"max_steps": 64})
    assert game is not None and game.policy is minigrid.ExcursionPolicy
    assert game.policy(seed=0).plan(np.zeros((1, 16, 16, 3), np.uint8), 3)
