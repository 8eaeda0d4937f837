"""The real game beside the dream, and what can be saved of both; on the real MinAtar."""

# ruff: noqa: F401, F811  (fixtures are imported)

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageSequence
from stable_baselines3 import PPO
from toy_play import breakout_world, play, read_frame

from dfgym.data.real import RealEnv
from dfgym.data.store import EpisodeStore
from dfgym.data.windows import WindowSampler
from dfgym.env.env import DreamEnv
from dfgym.errors import DataError, MissingPackageError
from dfgym.evaluation.sheet import DREAM, REAL
from dfgym.frames import upscale
from dfgym.play import messages, replies, save, timeline
from dfgym.play.session import Session
from dfgym.play.timeline import Real
from dfgym.world import bundle, shelf

ACTIONS = np.random.default_rng(0).integers(3, size=40).tolist()


@pytest.fixture
def game(breakout_world: Path) -> Session:
    return Session(str(breakout_world), device="cpu", seed=0)


def reals(game: Session) -> list[Real]:
    found = [moment.real for moment in game.timeline.moments]
    assert None not in found
    return [real for real in found if real is not None]


def same(first: list[Real], second: list[Real]) -> bool:
    """Whether the real game did the same; pixels and all numbers."""

    def plain(real: Real) -> tuple[object, ...]:
        return (real.frame.tobytes(), real.reward, real.score, real.terminated, real.diverged)

    return [plain(real) for real in first] == [plain(real) for real in second]


# --- The real game --------------------------------------------------------------------------------


def test_every_start_is_one_of_the_real_game(game: Session) -> None:
    for index in range(len(game.starts)):
        game.begin(index)
        assert game.take_notice() is None
        (real,) = reals(game)
        assert np.array_equal(real.frame, game.timeline.now.frame)
        assert (real.difference, real.diverged, real.score) == (0.0, None, 0.0)


def test_the_twin_is_the_real_game(game: Session) -> None:
    """Step by step what `DFReal` plays on the same seed and actions."""
    index = next(i for i, (_, frame) in enumerate(game.starts) if frame > 20)
    game.begin(index)
    episode, frame = game.starts[index]
    play(game, ACTIONS)
    env = RealEnv(shelf.DEFAULT)
    env.reset(seed=int(game.world.starts.seeds[episode]))
    for action in game.world.starts.episode(episode)[1][:frame]:
        env.step(action)
    score, ended = 0.0, False
    for real, action in zip(reals(game)[1:], ACTIONS, strict=True):
        if ended:
            assert real.terminated and real.reward == 0
            continue
        observation, reward, ended, _, _ = env.step(action)
        score += reward
        assert np.array_equal(observation[::4, ::4], real.frame)
        assert (real.reward, real.score, real.terminated) == (reward, score, ended)


def test_the_difference_is_told(game: Session) -> None:
    game.begin(0)
    play(game, ACTIONS[:12])
    differences = []
    for moment, real in zip(game.timeline.moments, reals(game), strict=True):
        differences.append((moment.frame != real.frame).any(-1).mean())
        assert real.difference == pytest.approx(differences[-1])
        first = next((t for t, difference in enumerate(differences) if difference), None)
        assert real.diverged == first
    header, pictures = read_frame(replies.frame(game, 1))
    assert header["real"]["diverged"] == first is not None
    assert np.array_equal(pictures[0], moment.frame) and np.array_equal(pictures[1], real.frame)


@pytest.mark.parametrize("t", [0, 7, 17])
def test_both_games_go_back(game: Session, t: int) -> None:
    game.begin(5)
    play(game, ACTIONS[:20])
    before, frames = reals(game), [m.frame.tobytes() for m in game.timeline.moments]
    game.apply(messages.Seek(t))
    play(game, ACTIONS[t:20])
    assert same(reals(game), before)
    assert [m.frame.tobytes() for m in game.timeline.moments] == frames


def test_the_real_game_comes_and_goes(game: Session) -> None:
    game.begin(5)
    play(game, ACTIONS[:5])
    assert replies.state(game)["speaks_real"]
    game.apply(messages.Real(False))
    assert not replies.state(game)["speaks_real"] and not replies.state(game)["real_on"]
    assert read_frame(replies.frame(game, 1))[0]["real"] is None
    play(game, ACTIONS[5:10])
    assert game.timeline.now.real is None
    game.apply(messages.Real(True))
    play(game, ACTIONS[10:15])
    after = reals(game)
    other = Session(str(game.world.path), device="cpu", seed=0)
    other.begin(5)
    play(other, ACTIONS[:15])
    assert same(after, reals(other))


def test_it_comes_back_while_the_past_is_shown(game: Session) -> None:
    game.apply(messages.Real(False))
    game.begin(5)
    play(game, ACTIONS[:15])
    game.apply(messages.Seek(6))
    game.apply(messages.Real(True))
    shown = read_frame(replies.frame(game, 1))[1]
    assert len(shown) == 2
    play(game, ACTIONS[6:15])
    other = Session(str(game.world.path), device="cpu", seed=0)
    other.begin(5)
    play(other, ACTIONS[:15])
    assert same(reals(game), reals(other))


def test_the_real_game_of_a_long_episode(game: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what is kept it still follows from the reset."""
    monkeypatch.setattr(timeline, "MAX_STEPS", 30)
    game.begin(5)
    play(game, ACTIONS)
    before = [(real.frame.tobytes(), real.score, real.difference) for real in reals(game)]
    assert game.timeline.first == 16
    game.apply(messages.Real(False))
    game.apply(messages.Real(True))
    game.apply(messages.Seek(20))
    play(game, ACTIONS[20:])
    after = [(real.frame.tobytes(), real.score, real.difference) for real in reals(game)]
    assert after == before


def test_a_seed_that_is_not_known(
    breakout_world: Path,
    tmp_path: Path,
) -> None:
    world = bundle.load(breakout_world)
    seeds = np.full_like(world.starts.seeds, -1)
    starts = bundle.Starts(**{**vars(world.starts), "seeds": seeds})
    path = tmp_path / world.card.name
    bundle.write(path, world.card, world.weights, starts)
    game = Session(str(path), device="cpu")
    greeting = replies.hello(game, "it")["real"]
    assert not greeting["available"] and "does not say with which seed" in greeting["why"]
    game.advance()


def test_a_game_that_is_not_installed(
    breakout_world: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("minatar")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "minatar.environments.breakout", None)
    game = Session(str(breakout_world), device="cpu")
    greeting = replies.hello(game, "it")["real"]
    assert not greeting["available"] and 'pip install "dfgym[minatar]"' in greeting["why"]
    game.advance()


def test_the_scripted_player_plays(game: Session) -> None:
    game.apply(messages.Agent("scripted"))
    for _ in range(10):
        game.advance()
    assert {moment.by for moment in game.timeline.moments[1:]} == {"scripted"}


def test_an_agent_begins_at_the_controls(breakout_world: Path, tmp_path: Path) -> None:
    PPO("MlpPolicy", DreamEnv(breakout_world, device="cpu"), device="cpu").save(tmp_path / "it.zip")
    for agent, label in [
        ("scripted:0.2", "scripted:0.2"),
        (f"sb3:ppo:{tmp_path / 'it.zip'}", "sb3:ppo:it.zip"),
    ]:
        game = Session(str(breakout_world), device="cpu", agents=[agent], agent=agent)
        greeting = replies.hello(game, "it")
        assert greeting["agents"] == ["random", "scripted", label]
        assert greeting["agent"] == label
        game.advance()
        assert game.timeline.now.by == label
        game.apply(messages.Agent(None))
        game.apply(messages.Agent(label))
        game.advance()


def test_the_default_world_begins_like_its_game() -> None:
    game = Session(shelf.DEFAULT, device="cpu", seed=0)
    play(game, [0, 0, 0])
    assert game.beside and game.timeline.length == 3
    assert "lawfully" in replies.hello(game, "it")["real"]["why"]


# --- Recordings -----------------------------------------------------------------------------------


def test_a_gif_is_exact(game: Session) -> None:
    game.begin(5)
    play(game, ACTIONS[:12])
    pictures = [
        np.asarray(picture.convert("RGB"))
        for picture in ImageSequence.Iterator(Image.open(io.BytesIO(save.gif(game.film()))))
    ]
    shown = [
        (m.frame, r.frame, np.array([m.score, r.score]))
        for m, r in zip(game.timeline.moments, reals(game), strict=True)
    ]
    # Pillow writes pictures that are alike as one that stays longer.
    distinct = [pair for i, pair in enumerate(shown) if i == 0 or not _alike(pair, shown[i - 1])]
    assert len(pictures) == len(distinct)
    for picture, (dream, real, _) in zip(pictures, distinct, strict=True):
        assert picture.shape == (save.STRIP + 160, 336, 3)
        games = picture[save.STRIP :]
        assert np.array_equal(games[:, :160], upscale(dream, 16))
        assert np.array_equal(games[:, 176:], upscale(real, 16))
        for label, colour in (
            (picture[: save.STRIP, :160], DREAM),
            (picture[: save.STRIP, 176:], REAL),
        ):
            colours = {tuple(pixel) for pixel in label.reshape(-1, 3).tolist()}
            assert colours == {colour, (255, 255, 255)}


def test_labels_tell_the_games_and_scores_apart(game: Session) -> None:
    play(game, [0])
    film = game.film()
    real = film.moments[-1].real
    assert real is not None

    def strips(dreamed: float, played: float) -> tuple[bytes, bytes]:
        scored = dataclasses.replace(real, score=played)
        moment = dataclasses.replace(film.moments[-1], score=dreamed, real=scored)
        picture = np.asarray(
            Image.open(io.BytesIO(save.gif(dataclasses.replace(film, moments=[moment])))).convert(
                "RGB"
            )
        )
        return picture[: save.STRIP, :160].tobytes(), picture[: save.STRIP, 176:].tobytes()

    (dream, beside), (other, same) = strips(0, 2), strips(-1.5, 2)
    assert dream != other and beside == same and beside != strips(0, 3)[1]
    assert strips(1, 1) == strips(1.001, 0.999)


def _alike(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("beside", [False, True])
def test_an_mp4_has_every_frame(game: Session, tmp_path: Path, beside: bool) -> None:
    game.apply(messages.Real(beside))
    play(game, ACTIONS[:12])
    film = tmp_path / "film.mp4"
    film.write_bytes(save.mp4(game.film()))
    decode = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", film, "-f", "rawvideo", "-pix_fmt", "rgb24"]
    decoded = subprocess.run([*decode, "-"], capture_output=True, check=True)
    assert b"Video: h264" in decoded.stderr and b"yuv420p" in decoded.stderr
    pictures = np.frombuffer(decoded.stdout, np.uint8)
    pictures = pictures.reshape(-1, *((save.STRIP + 160, 336) if beside else (160, 160)), 3)
    assert len(pictures) == 13
    last = game.timeline.now.frame.astype(int)
    shown = pictures[-1][-160:, :160]
    assert np.abs(shown[8::16, 8::16] - last).mean() < 12  # colours are coded coarsely


def test_no_mp4_without_the_encoder(game: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingPackageError, match=r"dfgym\[video\]"):
        save.mp4(game.film())
    assert not replies.hello(game, "it")["video"]


def test_an_episode_is_a_data_set_to_train_on(game: Session, tmp_path: Path) -> None:
    game.begin(5)
    play(game, ACTIONS)
    game.apply(messages.Seek(20))
    game.apply(messages.Agent("random"))
    game.advance()  # a branch, of another player
    game.apply(messages.Agent(None))
    play(game, ACTIONS[21:])
    game.apply(messages.Seek(38))
    moments = game.timeline.moments[:39]
    zipfile.ZipFile(io.BytesIO(save.episode(game.film()))).extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    store = EpisodeStore.open(folder)
    store.verify()
    assert [episode.frames for episode in store.episodes] == [38, 2]
    assert {episode.policy for episode in store.episodes} == {"human+random"}
    frames = np.concatenate([store.frames[:38], store.frames[39:]])  # the border is in both
    assert np.array_equal(frames, [moment.frame for moment in moments])
    actions = np.concatenate([store.actions[:37], store.actions[38:39]])
    assert actions.tolist() == [moment.action for moment in moments[1:]]
    rewards = np.concatenate([store.rewards[:37], store.rewards[38:39]])
    assert rewards.tolist() == [moment.reward for moment in moments[1:]]
    assert np.flatnonzero(store.truncated).tolist() == [36, 38] and not store.terminated.any()
    batch = WindowSampler(store, length=8, batch=4, seed=0).batch(0)
    assert batch["frames"].shape == (4, 8, 10, 10, 3)


def test_one_step_is_no_episode(game: Session) -> None:
    play(game, [0])
    with pytest.raises(DataError, match="at least 2 steps, and this has 1"):
        save.episode(game.film())
