"""A plain static server, and a driver for the game behind an exported page."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import threading
from collections.abc import Iterator, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
VARIABLE = "DFGYM_ONNXRUNTIME_WEB"
"""Names the npm package's folder, where it is not installed in the repository."""

DRIVER = """
async ({ actions, seed, agent }) => {
  const socket = new WebSocket("");
  const frames = [], replies = [];
  let wake = () => {};
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") replies.push(JSON.parse(data));
    else frames.push(data);
    wake();
  };
  const arrive = async (condition) => {
    while (!condition()) await new Promise((resolve) => (wake = resolve));
  };
  const order = (message) => socket.send(JSON.stringify(message));
  await arrive(() => frames.length >= 1);
  order({ do: "ack", seq: 1e9 }); // it never waits for us
  order({ do: "pause", on: true });
  await arrive(() => replies.some(({ paused }) => paused));
  frames.length = 0; // what was played before the pause came
  order({ do: "seed", seed, start: null });
  await arrive(() => frames.length >= 1);
  if (agent) order({ do: "agent", name: agent });
  for (const [i, action] of actions.entries()) {
    if (action === null) order({ do: "reset", start: null });
    else {
      order({ do: "act", action, input: i });
      order({ do: "step" });
    }
    await arrive(() => frames.length >= i + 2);
  }
  socket.close();
  return frames.map((buffer) => {
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const pixels = new Uint8Array(buffer, 4 + length);
    return [header, btoa(pixels.reduce((text, byte) => text + String.fromCharCode(byte), ""))];
  });
}
"""


def find_runtime() -> Path | None:
    """Return the folder of the npm package onnxruntime-web, if it is there."""
    folder = Path(os.environ.get(VARIABLE, ROOT / "node_modules" / "onnxruntime-web"))
    return folder if folder.is_dir() else None


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder as any static server does; yield its address."""
    handler = functools.partial(_Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def dream(
    page: Page,
    seed: int,
    actions: Sequence[int | list[float] | None],
    shape: tuple[int, ...],
    agent: str | None = None,
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Play a game of its own behind a page; None among the actions begins the next episode.

    With an agent, by its name on the page, it plays instead, a step for each action.

    Returns:
        The header and the frame, of the beginning and after every action.
    """
    replies = page.evaluate(DRIVER, {"actions": list(actions), "seed": seed, "agent": agent})
    return [
        (header, np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(shape))
        for header, pixels in replies
    ]
