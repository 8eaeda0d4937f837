"""Films of games: GIF without loss, MP4, and two games side by side.

GIFs are written by Pillow, since OpenCV's own GIF writer mixes neighbouring colours.
"""

from __future__ import annotations

import errno
import io
import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from dfgym.errors import MissingPackageError
from dfgym.frames import upscale

GAP = 40
"""Grey value of what lies between two games."""


def side_by_side(left: np.ndarray, right: np.ndarray, cell: int = 16) -> np.ndarray:
    """Draw two games next to each other.

    Args:
        left: uint8 `(t, h, w, 3)`.
        right: likewise; the shorter film holds its last frame.
        cell: the width and height in pixels that each pixel of a game becomes.

    Returns:
        uint8 `(t, h * cell, w', 3)`.
    """
    count = max(len(left), len(right))
    enlarged = [
        upscale(np.concatenate([film, np.repeat(film[-1:], count - len(film), 0)]), cell)
        for film in (left, right)
    ]
    gap = np.full((count, enlarged[0].shape[1], cell, 3), GAP, np.uint8)
    return np.concatenate([enlarged[0], gap, enlarged[1]], 2)


def encode_gif(frames: Iterable[np.ndarray], fps: float) -> bytes:
    """Encode an endless GIF.

    Args:
        frames: uint8 `(h, w, 3)` each, one or more of one size; a frame of up to 256 colours is
            exact, one of more is reduced to 256.
        fps: frames a second. GIF counts in hundredths of a second, and players slow down what is
            under 2 of them, so the fastest film has 50.
    """
    images = map(_reduce_colours, frames)
    first, file = next(images), io.BytesIO()
    duration = 10 * max(2, round(100 / fps))  # milliseconds
    first.save(
        file,
        "GIF",
        save_all=True,
        append_images=images,
        duration=duration,
        loop=0,
        optimize=False,
    )
    return file.getvalue()


def encode_mp4(frames: Iterable[np.ndarray], fps: float) -> bytes:
    """Encode an H.264 film.

    Args:
        frames: uint8 `(h, w, 3)` each, one or more of one size, with even height and width.
        fps: frames a second.

    Raises:
        MissingPackageError: imageio-ffmpeg, which brings the encoder, is missing.
        OSError: the film could not be written whole, as where the disk is full.
    """
    try:
        import imageio_ffmpeg
    except ImportError as reason:
        raise MissingPackageError(
            'MP4 needs the package imageio-ffmpeg: pip install "dfgym[video]"'
        ) from reason
    frames = iter(frames)
    first = next(frames)
    with tempfile.TemporaryDirectory(prefix="dfgym-") as folder:
        path = Path(folder) / "film.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(path),
            first.shape[1::-1],
            fps=fps,
            macro_block_size=1,  # yuv420p needs even sizes and no more
            ffmpeg_log_level="error",
        )
        writer.send(None)  # runs the generator to where it waits for frames
        count = 0
        for frame in itertools.chain([first], frames):
            writer.send(np.ascontiguousarray(frame))
            count += 1
        writer.close()
        try:  # the encoder's exit code is not to be had; what it wrote is
            written, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
        except RuntimeError:
            written = 0
        if written != count:
            text = f"{written} of {count} frames of the film were written; is the disk full?"
            raise OSError(errno.EIO, text, folder)
        return path.read_bytes()


def _reduce_colours(frame: np.ndarray) -> Image.Image:
    """Turn a frame into an image of at most 256 colours, each frame with its own palette."""
    packed = (frame.astype(np.int32) << np.array([16, 8, 0])).sum(-1)
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) > 256:
        return Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE)
    image = Image.frombytes("P", frame.shape[1::-1], index.astype(np.uint8).tobytes())
    image.putpalette(((colours[:, None] >> np.array([16, 8, 0])) & 0xFF).astype(np.uint8).tobytes())
    return image
