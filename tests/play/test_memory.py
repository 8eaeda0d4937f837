"""What the page shows of a world's memory: the frames that were recalled, or a map."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfgym.model.archive import Archive
from dfgym.play import replies
from dfgym.play.session import Session
from dfgym.world.recall import recall
from dfgym.world.settings import Settings
from toys.play import ACTIONS, memory_world, play, read_frame


def open_game(folder: Path, name: str) -> Session:
    return Session(str(memory_world(folder, name)), Settings("cpu"), seed=0)


def memory_of(game: Session) -> Any:
    return read_frame(replies.frame(game, 0))[0]["memory"]


@pytest.mark.parametrize("name", ["none", "state_space"])
def test_a_world_without_a_picture_of_its_past_shows_none(tmp_path: Path, name: str) -> None:
    game = open_game(tmp_path, name)
    play(game, ACTIONS[:3])
    assert memory_of(game) is None


def test_an_archive_names_the_steps_that_the_network_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    game = open_game(tmp_path, "archive")
    assert memory_of(game) is None  # the start was not drawn by the world
    select, ages = Archive.select, []

    def spy(self: Any, sight: Any, poses: Any, age: Any, here: Any) -> Any:
        frames = select(self, sight, poses, age, here)
        ages.append(age.gather(1, frames)[0].tolist())
        return frames

    monkeypatch.setattr(Archive, "select", spy)
    first = len(game.timeline.context(1000)[0]) - 1  # so many frames were given before frame 0
    for count in range(1, 20):
        ages.clear()
        play(game, ACTIONS[count : count + 1])
        *passes, again = ages
        assert passes[-1] == again  # once for all passes over the frame
        steps = dict.fromkeys(count - int(age) for age in again if age)
        assert memory_of(game)["frames"] == [step for step in steps if step >= 0]
        assert next(iter(steps)) == count - 1 and min(steps) >= -first
    game.timeline.seek(7)
    assert 6 in memory_of(game)["frames"]  # the past has its own


def test_a_map_is_drawn_around_the_agent(tmp_path: Path) -> None:
    game = open_game(tmp_path, "spatial_map")
    play(game, ACTIONS[:6])
    memory = memory_of(game)
    pixels = np.frombuffer(base64.b64decode(memory["pixels"]), np.uint8).reshape(15, 15, 3)
    assert memory["side"] == 15
    # What is in view lies ahead of the middle, where nothing was written is grey.
    view = pixels[: 15 // 2 + 1]
    assert (view != 127).any() and (pixels == 127).all(-1).any()
    before = game._dream.env.clone_state()
    recall(game._dream.env.dynamics)
    assert game._dream.env.clone_state() == before
