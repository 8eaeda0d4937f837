"""The page of `dfgym play` in a real browser: headless Chromium plays the default world."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from dfgym.play import server as play_server
from toys.chromium import (
    PATIENCE_S,
    WORLD,
    Opener,
    find_chromium,
    header,
    let_scripted_play,
    paddle,
    pause,
    pixels,
    running_browser,
    running_server,
    seek,
    serve_here,
    single_steps,
    step,
    until,
    until_still,
    wait_for,
    watched_pages,
)
from toys.play import memory_world

MAX_PAGE_BYTES = 31_000
MAX_MEMORY_BYTES = 1_600


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip("no chromium or google-chrome is installed (Debian: apt-get install chromium)")
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def address(browser: Browser) -> Iterator[str]:
    with running_server() as url:
        yield url


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opener]:
    with watched_pages(browser) as opener:
        yield opener


def test_the_page_is_light() -> None:
    assert play_server.PAGE.stat().st_size <= MAX_PAGE_BYTES
    assert play_server.MEMORY.stat().st_size <= MAX_MEMORY_BYTES


def test_it_requests_nothing_but_itself(address: str, open_page: Opener) -> None:
    page = open_page("about:blank")
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(address)
    header(page)
    assert urls == [address]


def test_it_starts_and_draws_changing_frames(address: str, open_page: Opener) -> None:
    page = open_page(address)
    pictures: set[bytes] = set()
    while len(pictures) < 4:
        wait_for(lambda: pixels(page) not in pictures, "another picture")
        pictures.add(pixels(page))
    assert page.inner_text("h1") == WORLD and WORLD in page.title()
    assert page.inner_text(".dream .badge") == "DREAM"
    for number in ("score", "n-step", "n-episode", "n-end", "n-doubt", "n-ms", "n-fps"):
        until(page, f"/^\\d/.test(document.getElementById('{number}').textContent)")


def test_the_real_game_stands_beside(address: str, open_page: Opener) -> None:
    page = open_page(address)
    page.locator("#real-panel").wait_for(state="visible")
    assert page.inner_text(".real .badge") == "REAL"
    assert "chance" in page.inner_text("#lawful")
    let_scripted_play(page, 1)
    until(page, "dfgym.header.real !== null")
    seek(page, 0)
    assert pixels(page) == pixels(page, "real") and "alike" in page.inner_text("#verdict-words")
    assert page.is_visible("#first") is False
    page.uncheck("#twin")
    page.locator("#real-panel").wait_for(state="hidden")
    until(page, "!dfgym.state.real_on")  # it comes after the frame, and would undo the next click
    page.check("#twin")
    page.locator("#real-panel").wait_for(state="visible")


def test_the_paddle_obeys_the_keys(address: str, open_page: Opener) -> None:
    page = open_page(address)
    header(page)
    page.keyboard.down("a")
    page.keyboard.down("a")  # the keyboard's own repetition is ignored
    assert page.evaluate("input") == 1
    wait_for(lambda: paddle(page) in (0, 1), "the paddle at the left")
    assert page.locator("#keys .on").inner_text().endswith("left")
    page.keyboard.down("d")  # of two keys the last one counts
    wait_for(lambda: paddle(page) in (8, 9), "the paddle at the right")
    page.keyboard.up("d")
    wait_for(lambda: paddle(page) in (0, 1), "the paddle at the left again")
    page.keyboard.up("a")
    until(page, "dfgym.header.action === dfgym.hello.idle_action")
    page.keyboard.down("ArrowRight")  # the card does not name it, but everybody tries it
    wait_for(lambda: paddle(page) in (8, 9), "the paddle at the right again")
    page.evaluate("window.dispatchEvent(new Event('blur'))")  # the keyup will go to another window
    until(page, "dfgym.header.action === dfgym.hello.idle_action")
    until(page, "dfgym.latencies.length")  # measured when the picture is on the screen
    assert all(0 < ms < 1000 * PATIENCE_S for ms in page.evaluate("dfgym.latencies"))
    until(page, "document.getElementById('n-key').textContent.endsWith(' ms')")


def test_pause_step_rewind_and_branch(address: str, open_page: Opener) -> None:
    page = open_page(address)
    pictures = single_steps(page, 3)
    t = min(pictures)
    assert "Play" in page.inner_text("#pause")
    first = seek(page, 0)
    assert page.inner_text("#note") == "paused"
    assert "begins a branch" in page.inner_text("#branch")
    assert {at: seek(page, at) for at in pictures} == pictures and seek(page, 0) == first
    page.focus("#track")  # by keyboard too
    page.keyboard.press("ArrowRight")
    until_still(page, "dfgym.header.t === 1")

    page.select_option("#agent", "")
    until(page, "dfgym.state.agent === null")
    branches = []
    for branch in (1, 2):  # the same again: the dream repeats itself exactly
        assert seek(page, t) == pictures[t]
        page.keyboard.down("d")
        branches.append(step(page))
        page.keyboard.up("d")
        now = header(page)
        assert (now["t"], now["length"], now["branch"], now["action"]) == (t + 1, t + 1, branch, 2)
        assert page.inner_text("#branch") == f"Branch {branch}, begun at step {t}."
    assert branches[0] == branches[1]
    page.click("#pause")
    until(page, f"dfgym.header.t !== {t + 1}")


def test_starts_agents_and_settings(address: str, open_page: Opener) -> None:
    page = open_page(address)
    header(page)
    pause(page)
    starts = page.locator("#strip button")
    episode = header(page)["episode"]
    starts.nth(4).click()
    until_still(page, f"dfgym.header.episode === {episode + 1}")
    assert header(page)["t"] == 0 and starts.nth(4).get_attribute("aria-pressed") == "true"
    assert pixels(page) == base64.b64decode(page.evaluate("dfgym.hello.starts[4].pixels"))

    page.select_option("#agent", "random")
    page.get_by_role("button", name="Play yourself").click()
    until(page, "dfgym.state.agent === null")
    page.click("summary")
    first = page.input_value("#steps")
    page.fill("#steps", "2")
    page.press("#steps", "Enter")
    until(page, "dfgym.state.settings.denoising_steps === 2")
    page.select_option("#mode", "dynamic")
    until(page, "dfgym.state.settings.context_mode === 'dynamic'")
    assert page.evaluate("dfgym.state.settings.context_noise") == 0.1
    step(page)  # they are allowed
    page.get_by_role("button", name="first settings").click()
    until(page, "dfgym.state.settings.context_mode === 'clean'")

    page.fill("#steps", "999")  # not allowed: an error is shown, and the control goes back
    page.press("#steps", "Enter")
    wait_for(lambda: "999" in page.inner_text("#alert"), "an error about 999")
    assert page.input_value("#steps") == first
    page.get_by_role("button", name="Dismiss").click()
    assert page.inner_text("#alert") == ""


def test_an_error_disappears_with_its_cause(address: str, open_page: Opener) -> None:
    page = open_page(address, viewport={"width": 360, "height": 500})
    header(page)
    pause(page)
    page.click("summary")
    for remedy in ("3", ""):  # an emptied field is the old value, not 0
        page.fill("#steps", "999")
        page.press("#steps", "Enter")
        wait_for(lambda: "999" in page.inner_text("#alert"), "an error about 999")
        assert page.evaluate("scrollY") > 100
        banner = page.locator(".banner").bounding_box()
        assert banner is not None and 0 <= banner["y"] < 100  # wherever the page is scrolled to
        page.fill("#steps", remedy)
        page.press("#steps", "Enter")
        wait_for(lambda: page.inner_text("#alert") == "", "no error")
        until(page, "dfgym.state.settings.denoising_steps === 3")
        assert page.input_value("#steps") == "3"
    page.evaluate("showError('gone at once?')")
    page.keyboard.press("Tab")
    page.evaluate("errorAt = performance.now(); send({ do: 'act', action: 0, input: ++input })")
    assert "gone" in page.inner_text("#alert")  # playing on leaves the time to read
    page.evaluate("errorAt -= 5000; send({ do: 'act', action: 0, input: ++input })")
    assert page.inner_text("#alert") == ""


def test_a_missing_value_is_a_dash(address: str, open_page: Opener) -> None:
    page = open_page(address)
    let_scripted_play(page, 1)
    wait_for(lambda: page.inner_text("#n-ms").endswith("ms"), "a time")
    seek(page, 0)
    wait_for(lambda: page.inner_text("#n-ms") == "\N{EN DASH}", "no time at step 0")
    page.click("summary")
    assert page.is_disabled("#noise") and "another" in page.inner_text("#o-noise")
    page.select_option("#mode", "dynamic")
    wait_for(lambda: page.inner_text("#o-noise") == "0.10", "the noise")


def test_what_was_played_is_saved(address: str, open_page: Opener) -> None:
    page = open_page(address)
    let_scripted_play(page, 3)
    for link, start in (("#save-gif", b"GIF8"), ("#save-episode", b"PK")):
        with page.expect_download() as download:
            page.click(link)
        assert Path(download.value.path()).read_bytes().startswith(start)


def test_a_reload_and_a_second_tab(address: str, open_page: Opener) -> None:
    page = open_page(address)
    header(page)
    page.reload()
    until(page, "dfgym.header?.seq > 2")
    second = open_page(address, page.context)
    for tab in (second, page):
        tab.bring_to_front()
        seq = header(tab)["seq"]
        until(tab, f"dfgym.header.seq > {seq}")
    assert page.evaluate("dfgym.hello.session") != second.evaluate("dfgym.hello.session")

    page.evaluate("socket.close()")  # as if the network were lost
    assert "connection" in page.inner_text(".banner p")
    page.get_by_role("button", name="Reconnect").click()
    until(page, "dfgym.header?.seq > 2")
    assert page.inner_text("#alert") == ""


def test_a_memory_is_shown(tmp_path: Path, open_page: Opener) -> None:
    for name in ("archive", "spatial_map"):
        world = memory_world(tmp_path, name)
        with serve_here(world) as address:
            page = open_page(address)
            pause(page)
            first = header(page)["t"]
            for count in range(3):
                page.click("#step")
                until(page, f"dfgym.header.t === {first + count + 1}")
            now = header(page)
            if name == "archive":
                lights = page.eval_on_selector_all(
                    "#recalled i", "all => all.map(i => +i.dataset.t)"
                )
                assert lights == now["memory"]["frames"] and now["t"] - 1 in lights
                assert page.is_hidden("#map")
            else:
                size = page.eval_on_selector("#map", "map => [map.width, map.height]")
                assert size == [now["memory"]["side"]] * 2 and page.is_visible("#map")
                assert page.query_selector("#recalled i") is None


def test_a_hidden_page_waits(address: str, open_page: Opener) -> None:
    page = open_page(address)
    header(page)
    for hidden in (True, False):
        page.evaluate(
            "(value) => { Object.defineProperty(document, 'hidden', { value, configurable: true });"
            " document.dispatchEvent(new Event('visibilitychange', { bubbles: true })) }",
            hidden,
        )
        until(page, f"dfgym.state.paused === {str(hidden).lower()}")


def test_a_stopped_server_is_an_error_on_the_page(open_page: Opener) -> None:
    with serve_here(WORLD) as url:
        page = open_page(url)
        header(page)
    page.get_by_role("button", name="Reconnect").wait_for()
    assert "connection" in page.inner_text("#alert")
    page.get_by_role("button", name="Reconnect").click()
    wait_for(lambda: "No connection" in page.inner_text("#alert"), "a connection error")


def test_a_phone_plays_by_touch(address: str, open_page: Opener) -> None:
    page = open_page(address, viewport={"width": 360, "height": 640}, has_touch=True)
    header(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    left = page.get_by_role("button", name="left")
    button, canvas = left.bounding_box(), page.locator("#dream").bounding_box()
    assert button is not None and canvas is not None
    assert canvas["width"] > 300 and button["height"] >= 44
    assert canvas["y"] + canvas["height"] <= button["y"] <= 640 - button["height"]
    left.hover()
    page.mouse.down()  # Playwright's finger can only tap
    wait_for(lambda: paddle(page) in (0, 1), "the paddle at the left")
    page.mouse.up()
    until(page, "dfgym.header.action === dfgym.hello.idle_action")
