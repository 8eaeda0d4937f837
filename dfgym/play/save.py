"""What a player can save of a game: a GIF, an MP4, or an episode to train on.

Files are made in a temporary folder and returned as bytes: the browser decides where they end up,
and nothing that it sends reaches a path here.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import dfgym
from dfgym.data.store import EpisodeStore
from dfgym.errors import DataError
from dfgym.evaluation.film import GAP, encode_gif, encode_mp4, side_by_side
from dfgym.files import LOCK_FILES
from dfgym.frames import upscale
from dfgym.play.timeline import Film
from dfgym.train.strips import DREAM, REAL

SIDE = 160
"""The height, in pixels, at which games are drawn, at least about."""
STRIP = 20
"""The height, in pixels, of the labels above two games; even, as MP4 needs it."""


def gif(film: Film) -> bytes:
    """Encode an endless GIF of the dream, beside the real game if the film has it."""
    return encode_gif(_pictures(film), film.card.frames.fps)


def mp4(film: Film) -> bytes:
    """Encode an H.264 video of the same pictures.

    Raises:
        MissingPackageError: imageio-ffmpeg, which brings the encoder, is missing.
    """
    return encode_mp4(_pictures(film), film.card.frames.fps)


def episode(film: Film) -> bytes:
    """Zip a data set of the episode, in the form that `dfgym record` writes.

    `dfgym train` holds out the last 5 % of each data set's episodes, and at least one. So the last
    5 % of the steps become an episode of their own.

    Raises:
        DataError: there are fewer than 2 steps.
    """
    card, moments = film.card, film.moments
    steps = len(moments) - 1
    if steps < 2:
        raise DataError(f"an episode to train on needs at least 2 steps, and this one has {steps}")
    cut = steps - max(steps // 20, 1)
    policy = "+".join(dict.fromkeys(moment.by for moment in moments[1:]))
    meta = {
        "env": f"DFWorld/{card.name}",
        "kwargs": {},
        "versions": {"dfgym": dfgym.__version__},
        "frame_shape": list(moments[0].frame.shape),
        "fps": card.frames.fps,
        "actions": card.actions.to_plain(),
        "meanings": list(card.actions.meanings) if card.actions.is_discrete else None,
        "policies": {policy: 1.0},
        "seed": film.seed,
        "max_episode_steps": card.episode.max_steps,
    }
    with tempfile.TemporaryDirectory(prefix="dfgym-") as folder:
        with EpisodeStore.create(folder, meta) as store:
            for chunk in (moments[: cut + 1], moments[cut:]):
                last = chunk[-1]
                store.append(
                    np.stack([moment.frame for moment in chunk]),
                    card.actions.stack([moment.action for moment in chunk[1:]]),
                    np.array([moment.reward for moment in chunk[1:]], np.float32),
                    last.terminated,
                    not last.terminated,
                    seed=film.seed,
                    policy=policy,
                )
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(folder).iterdir()):
                if path.name not in LOCK_FILES:
                    archive.write(path, f"{card.name}-played/{path.name}")
        return file.getvalue()


def _pictures(film: Film) -> Iterator[np.ndarray]:
    """Draw one picture after the other, uint8 `(h, w, 3)` with even sides."""
    cell = 2 * max(1, SIDE // (2 * film.card.frames.height))
    width = cell * film.card.frames.width
    font = ImageFont.load_default(13)
    for moment in film.moments:
        if not film.beside or moment.real is None:
            yield upscale(moment.frame, cell)
            continue
        games = side_by_side(moment.frame[None], moment.real.frame[None], cell)[0]
        strip = np.full((STRIP, *games.shape[1:]), GAP, np.uint8)
        strip[:, :width] = _label("DREAM", moment.score, DREAM, width, font)
        strip[:, -width:] = _label("REAL", moment.real.score, REAL, width, font)
        yield np.concatenate([strip, games])


def _label(
    name: str,
    score: float,
    colour: tuple[int, int, int],
    width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> np.ndarray:
    """Draw a game's name and its score so far as uint8 `(STRIP, width, 3)` of two colours."""
    label = Image.new("RGB", (width, STRIP), colour)
    pen = ImageDraw.Draw(label)
    pen.fontmode = "1"  # without shades: a GIF has 256 colours, and the games need them
    number = f"{round(score, 2) + 0.0:.2f}".rstrip("0").rstrip(".")
    pen.text((6, STRIP // 2), f"{name}  {number}", (255, 255, 255), font, anchor="lm")
    return np.asarray(label)
