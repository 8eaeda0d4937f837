"""`dfgym play`, a headless Chromium to play it with, and functions that read a page."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from dfgym.play.command import Serve
from dfgym.play.server import AccessPolicy, Server, serving
from dfgym.play.session import Session
from dfgym.world.settings import Settings

WORLD = "minatar-breakout-v0"
PADDLE = (22, 61, 78)
PATIENCE_S = 300.0  # for a busy machine; nothing here waits longer than it must
# Chromium's own errors where a connection cannot be made, which one test provokes.
EXPECTED = ("WebSocket connection to", "net::ERR_CONNECTION_REFUSED")

Opener = Callable[..., Page]


@contextlib.contextmanager
def running_server(world: str = WORLD) -> Iterator[str]:
    """Run `dfgym play` on a free port; yield the address that it prints."""
    command = [sys.executable, "-m", "dfgym.cli", "play", world, "--port", "0", "--no-open"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        lines: queue.Queue[str] = queue.Queue()

        def read_lines() -> None:
            for line in process.stdout or ():
                lines.put(line)

        reader = threading.Thread(target=read_lines)
        reader.start()
        try:
            yield _address(lines)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            reader.join()


def _address(lines: queue.Queue[str]) -> str:
    end = time.monotonic() + PATIENCE_S
    while True:
        line = lines.get(timeout=max(0.1, end - time.monotonic()))
        if line.startswith("http://"):
            return line.strip()


@contextlib.contextmanager
def serve_here(world: str | Path) -> Iterator[str]:
    """Serve a world from a thread of this process, which has imported torch; yield the address."""
    loop, stop, token = asyncio.new_event_loop(), asyncio.Event(), "the-token"
    make = functools.partial(Session, str(world), Settings(device="cpu"), seed=0)
    listener = Serve().listen()
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    app = Server(AccessPolicy(frozenset({host}), token), make, max_connections=1).app()

    async def serve() -> None:
        async with serving(app, listener):
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield f"http://{host}/?token={token}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Run the system's Chromium without a screen."""
    chromium = find_chromium()
    assert chromium is not None
    # Root has no sandbox; elsewhere it stays.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=arguments, timeout=1000 * PATIENCE_S
        )
        try:
            yield browser
        finally:
            browser.close()


def find_chromium() -> str | None:
    """Return the path of the system's Chromium or Chrome, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """Open a browser context that records violations of the page's policy."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    context.set_default_timeout(1000 * PATIENCE_S)
    context.add_init_script(
        "window.violations = []; addEventListener('securitypolicyviolation',"
        " (event) => violations.push(`${event.violatedDirective}: ${event.blockedURI}`))"
    )
    return context


@contextlib.contextmanager
def watched_pages(browser: Browser) -> Iterator[Opener]:
    """Yield a function that opens pages; they must stay free of errors and within their policy."""
    errors: list[str] = []
    contexts: list[BrowserContext] = []

    def open_page(url: str, context: BrowserContext | None = None, **options: Any) -> Page:
        if context is None:
            context = new_context(browser, **options)
            contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    try:
        yield open_page
        for context in contexts:
            for page in context.pages:
                errors += page.evaluate("window.violations")
    finally:
        for context in contexts:
            context.close()
    assert [text for text in errors if not any(start in text for start in EXPECTED)] == []


def wait_for(condition: Callable[[], Any], goal: str) -> Any:
    """Wait for a condition, polled here: the page's policy forbids Playwright's own polling."""
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {PATIENCE_S:g} s for: {goal}"
        time.sleep(0.01)
    return value


def until(page: Page, expression: str) -> Any:
    """Wait until an expression is true on the page; return its value."""
    return wait_for(lambda: page.evaluate(expression), expression)


def header(page: Page) -> dict[str, Any]:
    """Return the header of the frame on the screen."""
    value: dict[str, Any] = until(page, "dfgym.header")
    return value


def until_still(page: Page, expression: str = "true") -> Any:
    """Wait until the game is paused, all that came is drawn, and an expression is true.

    The server sends a pause after the last frame, but the page draws when its next picture is due,
    so that `dfgym.header` may be older than `dfgym.state`.
    """
    return until(
        page, f"dfgym.state?.paused && !queue.length && request === null && ({expression})"
    )


def pixels(page: Page, canvas: str = "dream") -> bytes:
    """Return the RGB pixels of a canvas."""
    header(page)
    rgba = page.evaluate(
        "(id) => { const c = document.getElementById(id); return Array.from("
        "c.getContext('2d').getImageData(0, 0, c.width, c.height).data) }",
        canvas,
    )
    assert len(rgba) == 4 * 10 * 10 and set(rgba[3::4]) == {255}
    return bytes(value for i, value in enumerate(rgba) if i % 4 < 3)


def paddle(page: Page) -> int | None:
    """Return the paddle's column, if it is in its row."""
    row = pixels(page)[-30:]
    cells = [tuple(row[i : i + 3]) for i in range(0, 30, 3)]
    return cells.index(PADDLE) if PADDLE in cells else None


def pause(page: Page, on: bool = True) -> None:
    """Pause or play on, by key; a paused game shows its last frame."""
    header(page)
    if page.evaluate("dfgym.state.paused") != on:
        page.keyboard.press("Space")
    if on:
        until_still(page)
    else:
        until(page, "!dfgym.state.paused")


def seek(page: Page, t: int) -> bytes:
    """Drag the timeline to a step; return the picture there."""
    page.fill("#track", str(t))
    until_still(page, f"dfgym.header.t === {t}")
    return pixels(page)


def step(page: Page) -> bytes:
    """Pause, and play one step; return the picture after it."""
    pause(page)  # or a frame in flight would pass for the step's
    seq = header(page)["seq"]
    page.click("#step")
    until_still(page, f"dfgym.header.seq > {seq} && !dfgym.header.preview")
    return pixels(page)


def let_scripted_play(page: Page, steps: int) -> None:
    """Have the scripted player play at full speed, and pause in the middle of a long episode."""
    header(page)
    page.select_option("#speed", "0")
    page.select_option("#agent", "scripted")
    condition = f"dfgym.header.t >= {steps} && !dfgym.header.terminated"
    while True:
        pause(page, False)
        until(page, condition)
        pause(page)
        if page.evaluate(condition):  # it can end before the pause comes
            return


def single_steps(page: Page, count: int) -> dict[int, bytes]:
    """Pause in mid-episode, play some steps, and return the pictures by their steps."""
    while True:
        let_scripted_play(page, 20)
        t = header(page)["t"]
        pictures = {t: pixels(page)}
        while len(pictures) <= count and not header(page)["terminated"]:
            pictures[t + len(pictures)] = step(page)
            assert header(page)["t"] == max(pictures), "a single step is one step"
        if len(pictures) > count:
            return pictures
