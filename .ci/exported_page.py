"""Measure what `dfgym export --page` writes, in a real browser and from a plain static server.

Run it from the repository's root: `PYTHONPATH=tests python .ci/exported_page.py [--steps 1000]`.
Prints, as JSON for each world: the bytes to download; seconds from opening the page to its first
frame; frames a second at full speed; and how the frames of `--steps` steps of one seed and random
actions differ from those of `gym.make`. Needs onnxruntime-web (`npm install onnxruntime-web`, or
its folder in $DFGYM_ONNXRUNTIME_WEB) and a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from playwright.sync_api import Browser

from dfgym.export.command import Export, export
from dfgym.frames import downscale
from dfgym.world import shelf
from toys.chromium import new_context, running_browser, until
from toys.static import dream, find_runtime, serving

WORLDS = ["minatar-breakout-v0", "cartpole-pixels-v0", "pendulum-pixels-v0"]
SEED = 7
SECONDS = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worlds", nargs="*", default=WORLDS)
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    package = find_runtime()
    assert package is not None, "npm install onnxruntime-web"
    with tempfile.TemporaryDirectory() as folder, running_browser() as browser:
        for world in arguments.worlds:
            out = Path(folder) / world
            export(Export(world, out, page=True, onnxruntime_web=package))
            size = sum(path.stat().st_size for path in out.iterdir())
            with serving(out) as url:
                results = {"bytes": size, **watch(browser, url)}
                results |= compare(browser, url, world, arguments.steps)
            print(json.dumps({world: results}, indent=2), flush=True)


def watch(browser: Browser, url: str) -> dict[str, float]:
    """Open the page as a newcomer does, and let it run."""
    context = new_context(browser)
    page = context.new_page()
    began = time.perf_counter()
    page.goto(url)
    until(page, "dfgym.header")
    first = time.perf_counter() - began
    page.select_option("#speed", "0")
    page.select_option("#agent", "random")
    rates = []
    for _ in range(SECONDS):
        page.wait_for_timeout(1000)
        rates.append(page.evaluate("dfgym.fps"))
    milliseconds = page.inner_text("#n-ms")
    context.close()
    return {
        "first_frame_s": round(first, 2),
        "frames_a_second_median": round(float(np.median(rates)), 1),
        "frames_a_second_best": round(max(rates), 1),
        "last_step": milliseconds,
    }


def compare(browser: Browser, url: str, world: str, steps: int) -> dict[str, Any]:
    """Dream the same in both; rewards and ends must be equal."""
    card = shelf.card(world)
    env = gym.make("dfgym:DFWorld-v0", world=world, device="cpu")
    random = np.random.default_rng(SEED)
    actions: list[int | list[float] | None] = []
    outcomes = [(env.reset(seed=SEED)[0], 0.0, False)]
    for _ in range(steps):
        if outcomes[-1][2]:
            actions.append(None)
            outcomes.append((env.reset()[0], 0.0, False))
            continue
        row = card.actions.sample(random)
        actions.append(int(row) if card.actions.is_discrete else row.tolist())
        frame, reward, terminated, truncated, _ = env.step(card.actions.native(row))
        outcomes.append((frame, float(reward), terminated or truncated))
    shape = (card.frames.height, card.frames.width, 3)
    context = new_context(browser)
    page = context.new_page()
    page.goto(url)
    replies = dream(page, SEED, actions, shape)
    context.close()
    differences = [
        int(np.abs(downscale(frame, card.frames.observation_scale).astype(int) - picture).max())
        for (frame, _, _), (_, picture) in zip(outcomes, replies, strict=True)
    ]
    alike = [
        (reward, ended) == (header["reward"], header["terminated"] or header["truncated"])
        for (_, reward, ended), (header, _) in zip(outcomes, replies, strict=True)
    ]
    return {
        "steps": steps,
        "episodes": actions.count(None) + 1,
        "frames_that_differ": sum(difference > 0 for difference in differences),
        "largest_difference_in_grey_levels": max(differences),
        "rewards_or_ends_that_differ": alike.count(False),
    }


if __name__ == "__main__":
    main()
