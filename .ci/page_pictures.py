"""Make the pictures of the page in docs/: `PYTHONPATH=tests python .ci/page_pictures.py`."""

from __future__ import annotations

import functools
from pathlib import Path

from playwright.sync_api import Page

from toys.chromium import header, new_context, running_browser, running_server, until, wait_for


def take_pictures(folder: Path) -> None:
    """Write play.png, play-dark.png and play-phone.png: the scripted player in mid-episode."""
    desktop = {"width": 1280, "height": 800}
    phone = {"width": 390, "height": 844}
    with running_server() as (url, _), running_browser() as browser:
        for name, options in (
            ("play", {"viewport": desktop}),
            ("play-dark", {"viewport": desktop, "color_scheme": "dark"}),
            ("play-phone", {"viewport": phone, "has_touch": True, "device_scale_factor": 2}),
        ):
            page = new_context(browser, **options).new_page()
            page.goto(url)
            header(page)
            for key in "ad":  # for the latency
                page.keyboard.press(key)
                until(page, "dfgym.latencies.length > 0")
            photo = functools.partial(photograph, page, folder / f"{name}.png")
            wait_for(photo, "a good moment")
            page.context.close()


def photograph(page: Page, file: Path) -> bool:
    """Let the scripted player play to where dream and real differ, and take a picture there."""
    page.select_option("#agent", "scripted")
    now = header(page)
    if now["t"] < 30 or now["real"]["terminated"] or not now["real"]["difference"]:
        if now["real"]["terminated"]:
            page.click("#reset")
            until(page, f"dfgym.header.episode > {now['episode']}")
        return False
    page.select_option("#agent", "")
    until(page, "dfgym.state.agent === null")
    page.keyboard.down("d")
    until(page, "dfgym.header.action === 2")
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(0, 0)
    page.screenshot(path=file)
    page.keyboard.up("d")
    now = header(page)
    return now["t"] >= 30 and not now["terminated"] and not now["real"]["terminated"]


if __name__ == "__main__":
    take_pictures(Path(__file__).parents[1] / "docs")
