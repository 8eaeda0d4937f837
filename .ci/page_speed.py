"""Measure the page of `dfgym play` in a real browser.

Run it from the repository's root: `PYTHONPATH=tests python .ci/page_speed.py [--steps 36000]`.
Prints, as JSON: seconds from the command to the first frame on screen; milliseconds from a key
press to the picture that obeys it and frames a second, at the card's speed and at full speed; the
page's bytes; and the server's memory after a minute's steps at the card's speed and after `--steps`
of them (36,000 are an hour). Keep the machine quiet.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page

from dfgym.play.server import PAGE
from toys.chromium import header, new_context, pause, running_browser, running_server, until

PRESSES = 200
SECONDS = 15
MINUTE = 600  # steps, at the card's 10 a second


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=0)
    steps = parser.parse_args().steps
    results: dict[str, Any] = {"page_bytes": PAGE.stat().st_size}
    with running_browser() as browser:
        page = new_context(browser).new_page()
        began = time.perf_counter()
        with running_server() as (url, process):
            page.goto(url)
            until(page, "dfgym.header")
            results["first_frame_s"] = round(time.perf_counter() - began, 2)
            for speed, name in (("10", "card_speed"), ("0", "full_speed")):
                page.select_option("#speed", speed)
                page.evaluate("document.activeElement.blur()")
                results[name] = keys(page)
            results["full_speed"] |= frames(page)
            if steps:
                results["memory_MB"] = memory(page, process.pid, steps)
    print(json.dumps(results, indent=2))


def keys(page: Page) -> dict[str, float]:
    """Measure the milliseconds from a key to its picture, with keys pressed at odd moments."""
    chance = random.Random(0)
    page.evaluate("dfgym.latencies.length = 0")
    pause(page, False)
    for _ in range(PRESSES):
        page.keyboard.down(chance.choice("ad"))
        page.wait_for_timeout(chance.uniform(60, 160))
        page.keyboard.up("a")
        page.keyboard.up("d")
        page.wait_for_timeout(chance.uniform(20, 120))
    low, high = np.percentile(page.evaluate("dfgym.latencies"), (50, 95))
    return {"key_p50_ms": round(float(low), 1), "key_p95_ms": round(float(high), 1)}


def frames(page: Page) -> dict[str, float]:
    """Count the frames that the page draws in a second while an agent plays at full speed."""
    page.select_option("#agent", "scripted")
    pause(page, False)
    rates: list[float] = []
    while len(rates) < SECONDS:
        first, began = header(page), time.perf_counter()
        page.wait_for_timeout(1000)
        last = header(page)
        if last["episode"] == first["episode"] and not last["terminated"]:  # its end stays a while
            rates.append((last["seq"] - first["seq"]) / (time.perf_counter() - began))
    return {"frames_per_second": round(float(np.median(rates)), 1)}


def memory(page: Page, pid: int, steps: int) -> dict[str, float]:
    """Measure the server's resident memory while an agent plays at full speed."""
    page.select_option("#speed", "0")
    page.select_option("#agent", "scripted")
    pause(page, False)
    first, results = header(page)["seq"], {}
    for count in (MINUTE, steps):
        while page.evaluate("dfgym.header.seq") < first + count:
            time.sleep(0.5)
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        results[f"after_{count}_steps"] = round(pages * 4096 / 1e6, 1)
    return results


if __name__ == "__main__":
    main()
