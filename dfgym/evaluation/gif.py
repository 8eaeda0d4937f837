"""Moving pictures without loss: a GIF of the dream beside the real game.

Written by hand, since OpenCV's own GIF writer mixes neighbouring colours.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from dfgym.files import write_atomic
from dfgym.frames import upscale

MAX_CODES = 4096
GAP = 40
"""Grey value of what lies between two games."""


def beside(left: np.ndarray, right: np.ndarray, cell: int = 16) -> np.ndarray:
    """Draw two games next to each other.

    Args:
        left: uint8 `(t, h, w, 3)`.
        right: the same; whichever is shorter holds its last frame.
        cell: a pixel becomes this many, across and down.

    Returns:
        uint8 `(t, h * cell, w', 3)`.
    """
    count = max(len(left), len(right))
    drawn = [
        upscale(np.concatenate([f, np.repeat(f[-1:], count - len(f), 0)]), cell)
        for f in (left, right)
    ]
    gap = np.full((count, drawn[0].shape[1], cell, 3), GAP, np.uint8)
    return np.concatenate([drawn[0], gap, drawn[1]], 2)


def write(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write an endless GIF, atomically.

    Args:
        path: of the file.
        frames: uint8 `(t, h, w, 3)`; exact up to 256 colours, else rounded to 3, 3, 2 bits.
        fps: frames a second; GIF counts in hundredths of a second, at least 2 of them.
    """
    index, colours = _quantise(frames)
    bits = max(1, int(len(colours) - 1).bit_length())  # of a pixel
    table = np.zeros((1 << bits, 3), np.uint8)
    table[: len(colours)] = colours
    _, height, width = index.shape
    parts = [
        b"GIF89a",
        struct.pack("<HHBBB", width, height, 0xF0 | (bits - 1), 0, 0),
        table.tobytes(),
        b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00",
    ]
    delay = max(2, round(100 / fps))
    previous = None
    for picture in index:
        top, left, bottom, right = _changed(previous, picture)
        patch = picture[top:bottom, left:right]
        parts += [
            struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 0x04, delay, 0, 0),  # 0x04: leave it standing
            struct.pack("<BHHHHB", 0x2C, left, top, right - left, bottom - top, 0),
            _compress(patch.tobytes(), max(2, bits)),
        ]
        previous = picture
    write_atomic(path, b"".join([*parts, b"\x3b"]))


def _quantise(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour numbers uint8 `(t, h, w)` and their colours uint8 `(n, 3)`."""
    packed = (frames.astype(np.int32) << np.array([16, 8, 0])).sum(-1)
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) > 256:
        return _quantise((frames & np.array([0xE0, 0xE0, 0xC0])).astype(np.uint8))
    split = (colours[:, None] >> np.array([16, 8, 0])) & 0xFF
    return index.reshape(packed.shape).astype(np.uint8), split.astype(np.uint8)


def _changed(before: np.ndarray | None, now: np.ndarray) -> tuple[int, int, int, int]:
    """The rectangle (top, left, bottom, right) outside which nothing changed; at least a pixel."""
    if before is None:
        return 0, 0, *now.shape
    rows, columns = (np.flatnonzero((before != now).any(axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _compress(pixels: bytes, bits: int) -> bytes:
    """GIF's variable-width LZW (GIF89a specification, appendix F)."""
    clear, end = 1 << bits, (1 << bits) + 1
    fresh = {bytes([value]): value for value in range(clear)}
    codes, width, following = dict(fresh), bits + 1, end + 1
    stream, filled = clear, width  # the bits so far, the first one lowest
    out = bytearray()
    word = b""

    def put(code: int) -> None:
        nonlocal stream, filled
        stream |= code << filled
        filled += width
        while filled >= 8:
            out.append(stream & 0xFF)
            stream >>= 8
            filled -= 8

    for value in pixels:
        longer = word + bytes([value])
        if longer in codes:
            word = longer
            continue
        put(codes[word])
        codes[longer] = following
        if following == 1 << width:  # this code needs one bit more
            width += 1
        following += 1
        if following == MAX_CODES:
            put(clear)
            codes, width, following = dict(fresh), bits + 1, end + 1
        word = bytes([value])
    put(codes[word])
    put(end)
    if filled:
        out.append(stream & 0xFF)
    blocks = [out[i : i + 255] for i in range(0, len(out), 255)]
    return bytes([bits]) + b"".join(bytes([len(b)]) + b for b in blocks) + b"\x00"
