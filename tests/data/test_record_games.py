"""Games of any package and of one's own: recorded, and opened again in a fresh process."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dfgym import cli, make_world
from dfgym.agents.players import make_factory
from dfgym.data.record import Recording
from dfgym.data.record import record as record_game
from dfgym.data.store import EpisodeStore
from dfgym.env.real import RealEnv
from dfgym.errors import ConfigError
from dfgym.games.packages import VARIABLE
from dfgym.train.pack import Presentation, draft_card, held_out_starts
from dfgym.train.survey import survey
from dfgym.world import bundle
from toys import fresh
from toys.catch import Catch
from toys.recordings import record
from toys.walk import tiny
from toys.world import toy_weights

TESTS = Path(__file__).parents[1]
OWN = "toys.catch:toys/Catch-v0"
NEGATIVE = "toys.catch:Negative"


def world_of(store: EpisodeStore, path: Path, **presentation: Any) -> Path:
    """Pack a world of random weights from a recording, as `dfgym pack` would."""
    config = tiny(store.path, path)
    patch = 2 if store.frame_shape[0] % 2 == 0 else 1
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, patch=patch))
    game = survey([store], config.held_out)
    card = draft_card(
        config,
        game,
        [store],
        name=path.name,
        presentation=Presentation(**{"observation_scale": 1, **presentation}),
    )
    bundle.write(path, card, toy_weights(card), held_out_starts([store], config.held_out))
    return path


def run(code: str, world: Path, trusted: str = "") -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process, in the folder that holds the game's module."""
    variables = {"DFGYM_WORLDS": str(world.parent), VARIABLE: trusted}
    return fresh.run(code, folder=TESTS, **variables)


@pytest.fixture(scope="module")
def own_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of a game of one's own, inverted by a wrapper."""
    folder = tmp_path_factory.mktemp("own")
    store = record(OWN, folder / "data", 200, wrappers=(NEGATIVE,), env_kwargs={"side": 8})
    return world_of(store, folder / "catch-v0")


def test_the_card_knows_how_to_open_its_game(own_world: Path) -> None:
    card = bundle.load(own_world).card
    assert card.source.env == "toys/Catch-v0" and card.source.module == "toys.catch"
    assert card.source.wrappers == (NEGATIVE,) and card.source.kwargs == {"side": 8}
    assert card.episode.max_steps == 100  # the game's own limit


OPEN = """
import gymnasium as gym, dfgym
from dfgym.errors import ConfigError
try: env = gym.make("DFReal/catch-v0"{})
except ConfigError as error: print(error)
else: print(env.reset(seed=0)[0][4, 4])
"""


def test_the_real_twin_opens_in_a_fresh_process_at_the_users_word(own_world: Path) -> None:
    for keywords, trusted, printed in (
        ("", "", "toys.catch"),
        ("", "", "add --trust to the command (in Python: trust=True, or DFGYM_TRUST in the env"),
        (", trust=True", "", "[255 255 255]"),
        ("", "toys.catch", "[255 255 255]"),
    ):
        ran = run(OPEN.format(keywords), own_world, trusted)
        assert not ran.stderr and printed in ran.stdout


def test_commands_open_it_with_trust(own_world: Path, tmp_path: Path) -> None:
    command = ["evaluate", "catch-v0", "--quick", "--rungs", "speed", "--out", str(tmp_path)]
    code = "import sys; from dfgym.cli import main; sys.exit(main({!r}))"
    ran = run(code.format(command), own_world)
    assert ran.returncode == 2 and "add --trust" in ran.stderr and ran.stderr.count("\n") == 1
    ran = run(code.format([*command, "--trust"]), own_world)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "evaluation.html").is_file()


AGENTS = """
from dfgym.agents import evaluate, sb3
from dfgym.errors import ConfigError
config = evaluate.Config("random", ("DFWorld/catch-v0", "DFReal/catch-v0"), episodes=2, trust={})
try: evaluate.main(config)
except ConfigError as error: print(error)
twin = config.envs[1]
print(sb3.open_training(twin, 2, "cpu", **sb3.make_keywords(twin, True)).reset().shape)
"""


@pytest.mark.parametrize(("trust", "printed"), [(False, "add --trust"), (True, "95 % interval")])
def test_agents_play_it_with_trust(own_world: Path, trust: bool, printed: str) -> None:
    pytest.importorskip("stable_baselines3")
    ran = run(AGENTS.format(trust), own_world)
    assert printed in ran.stdout and "(2, 8, 8, 3)" in ran.stdout, ran.stderr


def test_the_page_shows_the_real_game_with_trust(own_world: Path) -> None:
    code = (
        "from dfgym.env.real import trust_source\n"
        "from dfgym.play.twin import Twin\n"
        "from dfgym.world import shelf\n"
        "trust_source('catch-v0')\n"
        "twin = Twin(shelf.load('catch-v0')); print(twin.begin(0, 5).frame.shape)"
    )
    ran = run(code, own_world)
    assert ran.stdout == "(8, 8, 3)\n", ran.stderr


GAME = Recording("toys/Catch-v0", 100)


def test_a_class_or_an_environment_in_python(tmp_path: Path) -> None:
    by_id = record(OWN, tmp_path / "id", 100)

    def record_env(name: str, env: Any) -> EpisodeStore:
        return record_game(GAME, tmp_path / name, make_factory, progress=False, env=env)

    own = record_env("class", Catch)
    assert own.meta["env"] == "Catch" and own.meta["module"] == "toys.catch"
    for store in (own, record_env("function", lambda: Catch()), record_env("env", Catch())):
        assert (store.frames == by_id.frames).all() and (store.actions == by_id.actions).all()
    wrapped = dataclasses.replace(GAME, wrappers=(NEGATIVE,))
    for name, env in (("wrapped class", Catch), ("wrapped", Catch())):
        store = record_game(wrapped, tmp_path / name, make_factory, progress=False, env=env)
        assert (store.frames == 255 - by_id.frames).all() and store.meta["wrappers"] == [NEGATIVE]
    sized = dataclasses.replace(GAME, env_kwargs={"side": 8})
    with pytest.raises(ConfigError, match=r"env_kwargs is .* and `env` is made already"):
        record_game(sized, tmp_path / "sized", make_factory, env=Catch())
    path = world_of(own, tmp_path / "class-v0")
    again = RealEnv(path, trust=True).reset(seed=3)[0]
    assert (again == Catch().reset(seed=3)[0]).all()


def test_an_environment_in_python_that_shows_nothing(tmp_path: Path) -> None:
    recording = Recording("CartPole-v1", 10)
    env = gym.make("CartPole-v1")
    with pytest.raises(ConfigError, match="make it with render_mode='rgb_array'"):
        record_game(recording, tmp_path / "data", make_factory, env=env)


def test_what_is_decided_is_said_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("minigrid")
    wrapper = "minigrid.wrappers:RGBImgPartialObsWrapper"
    symbols = record("MiniGrid-Empty-5x5-v0", tmp_path / "symbols", 60, resize=(25, 25))
    assert symbols.meta["render"] and "module" not in symbols.meta
    assert symbols.meta["filter"] == "contrast" and symbols.meta["max_steps"] == 100
    assert "frames are rendered, as 'image' in its observations holds symbols" in caplog.text
    assert "by the filter 'contrast': the game is drawn in" in caplog.text
    cv2 = pytest.importorskip("cv2")
    preview = cv2.imread(str(symbols.path / "preview.png"))
    assert preview.shape[0] == 160 and preview.shape[1] > 320
    raw = record("MiniGrid-Empty-5x5-v0", tmp_path / "raw", 60, image_key="image")
    assert raw.frame_shape == (7, 7, 3)
    view = record("MiniGrid-Empty-5x5-v0", tmp_path / "view", 60, wrappers=(wrapper,))
    assert view.frame_shape == (56, 56, 3) and view.meta["image_key"] == "image"
    for name, store in (("symbols-v0", symbols), ("raw-v0", raw), ("view-v0", view)):
        path = world_of(store, tmp_path / name)
        real = RealEnv(path)  # without trust: the package is known
        episode = store.episodes[0]
        assert (real.reset(seed=episode.seed)[0] == store.frames[0]).all()
        assert (real.step(int(store.actions[0]))[0] == store.frames[1]).all()


def test_frames_that_no_world_can_have_are_refused_with_the_flag_to_use(tmp_path: Path) -> None:
    for side in (513, 2):
        with pytest.raises(ConfigError, match=f"{side} x {side}; .* give --resize"):
            record("toys.catch:Catch", tmp_path / "data", 10, env_kwargs={"side": side})
    assert not (tmp_path / "data").exists()


def test_the_command_takes_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["record", "toys.catch:Catch", str(tmp_path / "data"), "--frames", "50"]
    words += [
        "--wrapper",
        NEGATIVE,
        "--wrapper",
        'gymnasium.wrappers:TimeLimit {"max_episode_steps": 9}',
    ]
    words += ["--max-episode-steps", "5", "--env-kwargs", '{"side": 16}', "--resize", "8", "8"]
    assert cli.main(words) == 0
    capsys.readouterr()
    store = EpisodeStore.open(tmp_path / "data")
    assert store.meta["filter"] == "contrast"
    assert set(np.diff(store.offsets)) == {6}


@pytest.mark.parametrize(
    "line",
    [
        'env = "evil:Game-v0"',
        'wrappers = ["evil:Wrapper"]',
        'wrappers = ["gymnasium.wrappers:RecordVideo"]',
        'policies = {"sb3:ppo:evil.zip" = 1.0}',
    ],
)
def test_a_recipe_runs_no_code_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    (tmp_path / "evil.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipe.toml"
    env = "" if line.startswith("env") else 'env = "CartPole-v1"\n'
    recipe.write_text(f"[record]\nframes = 10\n{env}{line}\n[train.model]\npatch = 8\n")
    config = make_world.Config("own-v0", tmp_path, recipe, device="cpu")
    with pytest.raises(ConfigError, match=r"would run code; .* add --trust"):
        make_world.make_world(config)
    assert not (tmp_path / "ran").exists()
