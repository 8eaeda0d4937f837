"""What can be saved of a game: a picture, a video and a data set; on the real MinAtar."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageSequence

from dfgym.data.store import EpisodeStore
from dfgym.data.windows import WindowSampler
from dfgym.errors import DataError, MissingPackageError
from dfgym.frames import upscale
from dfgym.play import messages, replies, save
from dfgym.play.session import Session
from dfgym.train.strips import DREAM, REAL
from dfgym.world.settings import Settings
from toys.play import play, real_moments

ACTIONS = np.random.default_rng(0).integers(3, size=40).tolist()


@pytest.fixture
def game(breakout_world: Path) -> Session:
    return Session(str(breakout_world), Settings(device="cpu"), seed=0)


def test_a_gif_is_exact(game: Session) -> None:
    game.begin(5)
    play(game, ACTIONS[:12])
    pictures = [
        np.asarray(picture.convert("RGB"))
        for picture in ImageSequence.Iterator(Image.open(io.BytesIO(save.gif(game.film()))))
    ]
    moments = [
        (m.frame, r.frame, np.array([m.score, r.score]))
        for m, r in zip(game.timeline.moments, real_moments(game), strict=True)
    ]
    # Pillow writes pictures that are alike as one that stays longer.
    distinct = [
        moment for i, moment in enumerate(moments) if i == 0 or not _alike(moment, moments[i - 1])
    ]
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


def test_labels_show_the_game_and_its_score(game: Session) -> None:
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
    game.apply(messages.ShowReal(beside))
    play(game, ACTIONS[:12])
    film = tmp_path / "film.mp4"
    film.write_bytes(save.mp4(game.film()))
    decode = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", film, "-f", "rawvideo", "-pix_fmt", "rgb24"]
    decoded = subprocess.run([*decode, "-"], capture_output=True, check=True)
    assert b"Video: h264" in decoded.stderr and b"yuv420p" in decoded.stderr
    pictures = np.frombuffer(decoded.stdout, np.uint8)
    pictures = pictures.reshape(-1, *((save.STRIP + 160, 336) if beside else (160, 160)), 3)
    assert len(pictures) == 13
    last = game.timeline.current.frame.astype(int)
    dream = pictures[-1][-160:, :160]
    assert np.abs(dream[8::16, 8::16] - last).mean() < 12  # colours are coded coarsely


def test_an_mp4_that_was_cut_short_is_not_handed_out(
    game: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a nearly full disk leaves of a film."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    real = ffmpeg.write_frames

    def cut(path: str, *arguments: Any, **keywords: Any) -> Any:
        writer = real(path, *arguments, **keywords)
        try:
            yield next(writer)
            while True:
                writer.send((yield))
        finally:
            writer.close()
            with open(path, "r+b") as file:
                file.truncate(Path(path).stat().st_size // 2)

    play(game, ACTIONS[:5])
    monkeypatch.setattr(ffmpeg, "write_frames", cut)
    with pytest.raises(OSError, match=r"0 of \d+ frames of the film were written"):
        save.mp4(game.film())


def test_no_mp4_without_the_encoder(game: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingPackageError, match=r"dfgym\[video\]"):
        save.mp4(game.film())
    assert not replies.hello(game, "it")["video"]


def test_an_episode_is_a_data_set_to_train_on(game: Session, tmp_path: Path) -> None:
    game.begin(5)
    play(game, ACTIONS)
    game.apply(messages.Seek(20))
    game.apply(messages.SelectAgent("random"))
    game.advance()  # a branch, of another player
    game.apply(messages.SelectAgent(None))
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
    with pytest.raises(DataError, match="at least 2 steps, and this one has 1"):
        save.episode(game.film())
