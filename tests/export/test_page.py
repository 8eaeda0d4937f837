"""An exported page in a real browser, from a plain static server and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from playwright.sync_api import Browser

from dfgym.agents import saved
from dfgym.env.env import DreamEnv
from dfgym.export.command import Export, export
from dfgym.frames import upscale
from dfgym.games.spaces import describe, shift
from toys.actions import marker_world
from toys.agents import tiny_agent
from toys.chromium import (
    Opener,
    find_chromium,
    header,
    pause,
    pixels,
    running_browser,
    seek,
    step,
    until,
    until_still,
    wait_for,
    watched_pages,
)
from toys.static import VARIABLE, dream, find_runtime, serving

WORLD = "minatar-breakout-v0"
FILES = {"tab.js", "game.js", "ort.mjs", "world.json", "step.onnx", "starts.bin.gz", "ort.wasm.gz"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip("no chromium or google-chrome is installed (Debian: apt-get install chromium)")
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default world's page."""
    if (package := find_runtime()) is None:
        pytest.skip(f"no onnxruntime-web: npm install onnxruntime-web, or set {VARIABLE}")
    out = tmp_path_factory.mktemp("export") / "page"
    export(Export(WORLD, out, page=True, onnxruntime_web=package))
    return out


@pytest.fixture(scope="module")
def address(browser: Browser, folder: Path) -> Iterator[str]:
    with serving(folder) as url:
        yield url


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opener]:
    with watched_pages(browser) as opener:
        yield opener


def test_it_dreams_what_gymnasium_dreams(address: str, open_page: Opener) -> None:
    """The same seed and actions give the same frames, rewards and ends, over episodes."""
    env = gym.make("dfgym:DFWorld-v0", world=WORLD, device="cpu")
    random, actions = np.random.default_rng(3), list[int | None]()
    expected = [(env.reset(seed=11)[0], 0.0, False)]
    for _ in range(60):
        if expected[-1][2]:
            actions.append(None)
            expected.append((env.reset()[0], 0.0, False))
        else:
            action = int(random.integers(3))
            actions.append(action)
            frame, reward, terminated, _, _ = env.step(action)
            expected.append((frame, float(reward), terminated))
    assert None in actions and any(reward for _, reward, _ in expected)
    results = dream(open_page(address), 11, actions, (10, 10, 3))
    for (frame, reward, terminated), (numbers, picture) in zip(expected, results, strict=True):
        assert (numbers["reward"], numbers["terminated"]) == (reward, terminated)
        assert np.abs(frame[::4, ::4].astype(int) - picture).max() <= 1


def test_actions_of_parts(browser: Browser, open_page: Opener, tmp_path: Path) -> None:
    """Their numbers reach the world, as do those before an episode's start."""
    if (package := find_runtime()) is None:
        pytest.skip(f"no onnxruntime-web: npm install onnxruntime-web, or set {VARIABLE}")
    world = marker_world("dict", tmp_path / "toy-random-v0")
    export(Export(str(world), tmp_path / "page", page=True, onnxruntime_web=package))
    env, actions = DreamEnv(world, device="cpu"), list[list[float]]()
    space, random = describe(env.action_space, "it"), np.random.default_rng(0)
    expected = [env.reset(seed=4)[0]]
    while len(expected) < 6:
        row = space.sample(random)
        actions.append(np.atleast_1d(row).tolist())
        expected.append(env.step(shift(env.action_space, space.native(row)))[0])
    with serving(tmp_path / "page") as url:
        page = open_page(url)
        replies = dream(page, 4, actions, (8, 8, 3))
        pause(page)
        page.locator("#strip button").last.click()  # begins from several frames
        until_still(page, "dfgym.header.t === 0")
        page.select_option("#agent", "random")
        pause(page, on=False)
        until(page, "dfgym.header.t > 2 && dfgym.header.action.length === 6")
    for frame, (_, picture) in zip(expected, replies, strict=True):
        assert np.abs(frame[::5, ::5].astype(int) - picture).max() <= 1


def test_it_plays_alone(address: str, open_page: Opener, folder: Path) -> None:
    """It asks for nothing but its own files, and for no more than the bar's bytes."""
    page = open_page("about:blank")
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(f"{address}?seed=5")
    pictures: set[bytes] = set()
    while len(pictures) < 4:
        wait_for(lambda: pixels(page) not in pictures, "another picture")
        pictures.add(pixels(page))
    assert set(urls) == {f"{address}?seed=5", *(address + name for name in FILES)}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8e6
    assert page.inner_text("h1") == WORLD and "seed 5" in page.inner_text("#facts")
    for hidden in ("#twin", "#save-gif", "#steps"):
        assert not page.is_visible(hidden)


def test_keys_rewind_branches_and_seeds(address: str, open_page: Opener) -> None:
    page = open_page(f"{address}?seed=7")
    header(page)
    page.keyboard.down("d")
    until(page, "dfgym.header?.action === 2")
    page.keyboard.up("d")
    pause(page)
    page.fill("#seed", "9")
    page.press("#seed", "Enter")
    until_still(page, "dfgym.header.t === 0")
    first, pictures = pixels(page), [step(page) for _ in range(3)]
    assert seek(page, 0) == first and seek(page, 2) == pictures[1]
    page.keyboard.down("a")
    branches = []
    for branch in (1, 2):  # the same again: the dream repeats itself exactly
        seek(page, 1)
        branches.append((step(page), step(page)))
        assert header(page)["branch"] == branch and header(page)["length"] == 3
    page.keyboard.up("a")
    assert branches[0] == branches[1]
    page.locator("#strip button").nth(4).click()
    until_still(page, "dfgym.header.t === 0")
    page.select_option("#agent", "random")
    pause(page, on=False)
    until(page, "dfgym.header.t > 2")


def test_an_agent_plays_as_in_python(
    browser: Browser, open_page: Opener, random_world: Path, tmp_path: Path
) -> None:
    """On seeing 200 frames in a row, over episodes, it does what SB3 does."""
    if (package := find_runtime()) is None:
        pytest.skip(f"no onnxruntime-web: npm install onnxruntime-web, or set {VARIABLE}")
    name, out = tiny_agent(random_world, tmp_path / "it.zip"), tmp_path / "page"
    export(Export(str(random_world), out, page=True, onnxruntime_web=package, agent=name))
    env = DreamEnv(random_world, device="cpu")
    agent = saved.load("ppo", tmp_path / "it.zip", env.observation_space)
    with serving(out) as url:
        page = open_page(url)
        pause(page)  # its own game, beside the one that is watched
        replies = dream(page, 3, [0] * 200, (8, 8, 3), agent="sb3:ppo:it.zip")
        page.select_option("#agent", "sb3:ppo:it.zip")
        pause(page, on=False)
        until(page, "dfgym.state.agent === 'sb3:ppo:it.zip' && dfgym.header.action !== null")
    actions, expected, play = [], [], agent.begin(np.asarray)
    for (before, frame), (after, _) in pairwise(replies):
        if before["t"] == 0:
            play = agent.begin(np.asarray)
        if after["t"] > 0:
            expected.append(play(upscale(frame, 5)))
            actions.append(after["action"])
    assert actions == expected and set(actions) == {0, 1, 2}
    assert len(actions) < 200  # there was more than one episode


def test_inside_another_page_it_waits_to_be_played(
    folder: Path, open_page: Opener, tmp_path: Path
) -> None:
    (tmp_path / "dream").symlink_to(folder)
    (tmp_path / "index.html").write_text(
        '<link rel=icon href="data:,"><iframe src="dream/index.html" width=700 height=600>'
    )
    with serving(tmp_path) as url:
        page = open_page(url)
        frame = wait_for(lambda: page.frame(url=f"{url}dream/index.html"), "the frame")
        wait_for(lambda: frame.evaluate("dfgym.header !== null && dfgym.state.paused"), "a picture")
        assert frame.evaluate("dfgym.header.t") == 0
        assert not frame.is_visible("#starts") and not frame.is_visible("#seed")
        frame.get_by_text("▶ Play").click()
        wait_for(lambda: frame.evaluate("dfgym.header.t > 1"), "a game that goes on")
        assert frame.get_by_text("▶ Play").count() == 0
        frame.click("#pause")
        wait_for(lambda: frame.evaluate("dfgym.state.paused"), "a pause")
        assert frame.get_by_text("▶ Play").count() == 0  # it was an invitation


def test_from_the_disk_it_says_how_to_serve_it(folder: Path, browser: Browser) -> None:
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    wait_for(lambda: "python -m http.server" in page.inner_text("#alert"), "an explanation")
    assert page.inner_text("#about") == "Not started"
    page.close()


@pytest.mark.parametrize(
    "query, change, words",
    [
        ("?seed=x", None, "seed is x; allowed is a whole number"),
        ("", ("step.onnx", 0.0), "step.onnx is missing beside the page (404)"),
        ("", ("step.onnx", 0.5), "step.onnx did not come whole"),
        ("", ("ort.wasm.gz", 0.5), "ort.wasm.gz did not come whole"),
        ("", ("world.json", 0.5), "world.json did not come whole"),
        ("", ("world.json", b""), "world.json did not come whole"),
        ("", ("world.json", b"{}"), "world.json did not come whole (it has no hello)"),
        ("", ("world.json", b"null"), "world.json did not come whole (it has no hello)"),
        ("", ("step.onnx", b"null"), "step.onnx did not come whole"),
        ("", ("starts.bin.gz", b"null"), "starts.bin.gz did not come whole"),
        ("", ("ort.mjs", 0.5), "game.js or ort.mjs is missing"),
    ],
)
def test_what_is_wrong_is_an_error_on_the_page(
    query: str,
    change: tuple[str, float | bytes] | None,
    words: str,
    folder: Path,
    browser: Browser,
    tmp_path: Path,
) -> None:
    """A file may be gone, or its copy may have stopped half way."""
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    if change:
        name, content = change
        whole = (folder / name).read_bytes()
        if isinstance(content, float):  # so much of it
            content = whole[: int(content * len(whole))]
        (tmp_path / name).unlink()
        if change[1] != 0.0:
            (tmp_path / name).write_bytes(content)
    with serving(tmp_path) as url:
        page = browser.new_page()
        page.goto(url + query)
        wait_for(lambda: words in page.inner_text("#alert"), words)
        assert page.inner_text("#about") == "Not started"
        page.close()
