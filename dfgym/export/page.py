"""The files of a page that dreams in the browser: the page of `dfgym play`, its game a worker.

The network runs by onnxruntime-web, in WebAssembly, which is copied from its npm package. The
WebAssembly is packed by gzip here and unpacked by the page, since many static servers pack nothing.

Legend: t frames of a start, h w a frame.
"""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path
from typing import Any

import numpy as np

from dfgym.diffusion.context import CONTEXT_MODES
from dfgym.env.starts import context_of
from dfgym.errors import ConfigError
from dfgym.play import replies
from dfgym.play.server import PAGE
from dfgym.play.session import pick_starts, resolve_settings
from dfgym.world.bundle import World
from dfgym.world.settings import MAX_DENOISING_STEPS, Settings

HERE = Path(__file__).parent
SCRIPTS = ("game.js", "tab.js")
RUNTIME = {"ort.mjs": "ort.wasm.bundle.min.mjs", "ort.wasm.gz": "ort-wasm-simd-threaded.wasm"}
"""The files of onnxruntime-web that a page needs, by their names beside it."""
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'nonce-page'; "
    "style-src 'nonce-page'; img-src data: blob:; connect-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""What the page may do: nothing outside its own folder."""


def page_files(world: World, settings: Settings, package: Path) -> dict[str, bytes]:
    """Return the files that stand beside `step.onnx` and `world.json`, by name.

    Args:
        world: the world.
        settings: how it is run.
        package: the folder of onnxruntime-web, as npm installs it.

    Raises:
        ConfigError: that folder is no onnxruntime-web.
    """
    files = {name: (HERE / name).read_bytes() for name in SCRIPTS}
    files["index.html"] = _index().encode()
    for name, source in RUNTIME.items():
        path = package / "dist" / source
        if not path.is_file():
            raise ConfigError(
                f"{package} is no package onnxruntime-web of version 1.20 or newer: it has no "
                f"dist/{source}; run `npm install onnxruntime-web` here, or name the folder with "
                "--onnxruntime-web"
            )
        data = path.read_bytes()
        files[name] = _pack(data) if name.endswith(".gz") else data
    return files


def _index() -> str:
    text = PAGE.read_text(encoding="utf-8").replace("{{NONCE}}", "page")
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    text = text.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{policy}', 1)
    script = '<script nonce="page">'
    assert text.count(script) == 1
    return text.replace(script, f'<script src="tab.js"></script>\n{script}')


def _pack(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # the same bytes every time


def describe(world: World, settings: Settings, caches: list[list[int]]) -> dict[str, Any]:
    """Return what a host of `step.onnx` must know, as JSON can hold it.

    Args:
        world: the world.
        settings: how it is run.
        caches: the shape of each cache.
    """
    card, parts = world.card, world.card.actions.parts
    starts = [
        {"frame": frame, **_context(world, episode, frame)}
        for episode, frame in pick_starts(world.starts)
    ]
    return {
        "hello": _hello(world, settings),
        "hash": world.hash,
        "frame": {"height": card.frames.height, "width": card.frames.width},
        "history": card.model.history,
        # JSON has no number that is none: null stands for it.
        "no_action": card.actions.none if card.actions.is_discrete else [None] * len(parts),
        "caches": caches,
        "episodes": [
            {"frame": 0, **_context(world, episode, 0)} for episode in range(len(world.starts))
        ],
        "starts": starts,
    }


def starts_file(world: World) -> bytes:
    """Return the frames of `describe`'s episodes and starts, uint8 `(h, w, 3)`, one by one."""
    places = [(episode, 0) for episode in range(len(world.starts))] + pick_starts(world.starts)
    frames = [context_of(world, episode, frame)[0] for episode, frame in places]
    return _pack(np.concatenate(frames).tobytes())


def _context(world: World, episode: int, frame: int) -> dict[str, Any]:
    frames, actions = context_of(world, episode, frame)
    return {"count": len(frames), "actions": actions.tolist()}


def _hello(world: World, settings: Settings) -> dict[str, Any]:
    """Return the greeting of `dfgym.play.replies`, without what is for a server alone."""
    card = world.card
    return {
        "type": "hello",
        "session": "",
        **replies.describe_world(card),
        "settings": dataclasses.asdict(resolve_settings(card, settings)),
        "context_modes": list(CONTEXT_MODES),
        "max_denoising_steps": MAX_DENOISING_STEPS,
        "agents": ["random"],
        "agent": None,
        "real": {"available": False, "on": False, "note": ""},
        "video": False,
    }
