"""Playing games whose actions have parts: keys that are held together, the twin, what is saved."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dfgym.data.store import EpisodeStore
from dfgym.errors import ActionError, ConfigError
from dfgym.play import messages, replies, save
from dfgym.play.session import Session
from dfgym.world.settings import Settings
from toys.actions import marker_world
from toys.play import read_frame

pytestmark = pytest.mark.usefixtures("marker_id")


@pytest.fixture(params=["box", "dict", "multi-discrete"])
def game(request: pytest.FixtureRequest, tmp_path: Path) -> Session:
    world = marker_world(request.param, tmp_path / "toy-marker-v0")
    return Session(str(world), Settings(device="cpu"), seed=0)


def test_the_page_knows_buttons_and_parts(game: Session) -> None:
    actions = game.world.card.actions
    hello = json.loads(json.dumps(replies.hello(game, "it")))
    assert len(hello["parts"]) == len(actions.parts) == len(hello["idle_action"])
    for button in hello["actions"]:
        (key,) = button["keys"]
        row = list(hello["idle_action"])
        for place, value in button["sets"].items():
            row[int(place)] = value
        assert np.allclose(actions.press(actions.keys[key]), row)
        game.apply(messages.Act(tuple(row), 1))
    assert hello["actions"]


def test_an_episode_is_played_rewound_and_saved(game: Session, tmp_path: Path) -> None:
    space = game.world.card.actions
    rows = space.sample(np.random.default_rng(0), 5)
    for number, row in enumerate(rows):
        game.paused = True
        game.apply(
            messages.parse(json.dumps({"do": "act", "action": row.tolist(), "input": number}))
        )
        game.advance()
    played = [moment.frame for moment in game.timeline.moments]
    header, _ = read_frame(replies.frame(game, 1))
    assert np.allclose(header["action"], rows[-1])
    assert game.timeline.current.real is not None  # the real game has played the same actions
    game.apply(messages.Seek(3))
    game.apply(messages.Act(tuple(rows[3].tolist()), 9))
    game.advance()
    assert np.array_equal(game.timeline.current.frame, played[4])
    with zipfile.ZipFile(io.BytesIO(save.episode(game.film()))) as archive:
        archive.extractall(tmp_path / "saved")
    store = EpisodeStore.open(tmp_path / "saved" / "toy-random-v0-played")
    assert np.array_equal(store.actions[:3], rows[:3])
    assert store.action_space.network_form == space.network_form


def test_agents_play(game: Session) -> None:
    game.apply(messages.SelectAgent("random"))
    for _ in range(3):
        game.advance()
    assert game.timeline.current.by == "random"


@pytest.mark.parametrize("action", [0, (), (9.0,) * 3, (float("nan"),) * 6, ("a",)])
def test_what_is_no_action_is_refused(game: Session, action: object) -> None:
    before = game.timeline.cursor
    with pytest.raises((ActionError, ConfigError)):
        text = json.dumps({"do": "act", "action": action, "input": 1})
        game.apply(messages.parse(text))
    assert game.timeline.cursor == before
