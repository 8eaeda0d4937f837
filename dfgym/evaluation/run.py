"""`dfgym evaluate`: measure a world against its real game, into one JSON file and one HTML page."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dfgym.bench import speed
from dfgym.errors import ConfigError
from dfgym.evaluation import drift as drifts
from dfgym.evaluation import fidelity, legality, report, sections, transfer
from dfgym.evaluation import motion as motions
from dfgym.evaluation.drift import drift
from dfgym.evaluation.film import encode_gif, side_by_side
from dfgym.evaluation.motion import motion
from dfgym.evaluation.rollout import (
    Dream,
    Real,
    Rows,
    open_real,
    policies,
    roll,
)
from dfgym.files import write_atomic, write_json
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

ROWS = 16
FILM = 240
"""Frames of the moving picture."""
SECTIONS = {
    "legality": sections.legality,
    "transfer": transfer.section,
    "horizon": fidelity.horizon_section,
    "next_frame": fidelity.next_frame_section,
    "motion": motions.section,
    "drift": drifts.section,
    "speed": sections.speed,
}


def evaluate(
    world: str | os.PathLike[str],
    out: str | os.PathLike[str],
    quick: bool = False,
    settings: Settings = Settings(),
) -> dict[str, Any]:
    """Measure a world.

    Writes `evaluation.json`, `evaluation.html` and `dream.gif`. Agents are not trained here, since
    that takes hours: what `dfgym.evaluation.transfer` has left in `out/transfer` is read.

    Args:
        world: a name on the shelf, or the path of a folder.
        out: folder to write to.
        quick: about a twentieth of the frames: a look, not a measurement.
        settings: how the world is run.

    Returns:
        What the JSON file holds. `absent` says of each missing section why.

    Raises:
        WorldError: there is no such world, or it is damaged.
        MissingPackageError: its real game is not installed.
        ConfigError: `out` cannot be a folder.
    """
    loaded = shelf.load(world)
    card, folder = loaded.card, Path(out)
    open_real(card).env.close()  # first of all, before anything takes time
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise ConfigError(
            f"out {folder} cannot be made ({reason}); name another folder"
        ) from reason

    def make(rows: int) -> Dynamics:
        return Dynamics(loaded, rows, settings)

    share = 20 if quick else 1
    game = legality.find_game(card)
    absent = {}
    found: dict[str, Any] = {
        "world": {
            "name": card.name,
            "hash": loaded.hash,
            "description": card.description,
            "source": card.source.env,
        },
        "settings": _settings(loaded, settings, quick),
        "machine": _machine(make(1)),
    }
    with tqdm(total=7, bar_format="{desc:14}{bar}| {n}/{total} {elapsed}") as bar:

        def section(name: str) -> None:
            bar.set_description(name)
            bar.update()

        section("legality")
        if legality.has_rules(card):
            sides: dict[str, Rows] = {"dream": Dream(make(ROWS)), "real": Real(card, ROWS)}
            found["legality"] = {
                name: _counts(legality.measure(rows, card, 10_000 // share))
                for name, rows in sides.items()
            }
        else:
            absent["legal transitions"] = f"no judge knows the rules of {card.source.env}"
        section("horizon")
        found["horizon"] = fidelity.horizon(make, card, 8 if quick else 64)
        section("next frame")
        found["next_frame"] = fidelity.next_frame(make, card, 2048 // share)
        section("motion")
        if game is not None and game.read is not None:
            try:
                found["motion"] = motion(make, game, loaded.starts, card.model.window, 192 // share)
            except ConfigError as reason:  # the starts are too short
                absent["motion"] = str(reason)
        section("drift")
        found["drift"] = drift(make, card, 10_000 // share)
        section("speed")
        seconds = 0.5 if quick else 5.0
        found["speed"] = speed.bench(world, seconds, settings)
        section("pictures")
        found["transfer"] = transfer.summary(folder / "transfer")
        if found["transfer"] is None:
            absent["transfer"] = "run python -m dfgym.evaluation.transfer, then evaluate again"
        if "real" not in found["horizon"]:
            absent["the real game against itself"] = (
                f"the chance of {card.source.env}, if it has any, cannot be drawn anew"
            )
        found["absent"] = absent
        film = encode_gif(_film(make, loaded, FILM // 5 if quick else FILM), card.frames.fps)
        write_atomic(folder / "dream.gif", film)
    write_json(folder / "evaluation.json", found)
    html = _page(found, film)
    write_atomic(folder / "evaluation.html", html.encode())
    print(f"wrote {folder / 'evaluation.html'}")
    return found


def _page(found: dict[str, Any], film: bytes) -> str:
    """Render the report."""
    world, settings = found["world"], dict(found["settings"])
    heading = report.Heading(
        world["name"],
        world["description"],
        quick=settings.pop("quick"),
        conditions={
            "real game": world["source"],
            "world's hash": world["hash"],
            **settings,
            **found["machine"],
        },
    )
    answers = [make(found[name]) for name, make in SECTIONS.items() if found.get(name)]
    return report.render(heading, answers, found["absent"], film)


def _film(make: fidelity.MakeDynamics, world: World, length: int) -> np.ndarray:
    """The scripted player in the dream and in the real game, side by side."""
    shown = []
    for game in (Dream(make(1)), Real(world.card, 1)):
        episodes = roll(game, policies(world.card, 1, 0.05), length - 1)
        shown.append(np.concatenate([episode.frames for episode in episodes])[:length])
    side = max(world.card.frames.height, world.card.frames.width)
    dream, real = shown
    return side_by_side(dream, real, cell=max(1, 120 // side))


def _counts(counts: legality.Legality) -> dict[str, float]:
    return {
        "transitions": counts.transitions,
        "illegal": counts.illegal,
        "wrong": counts.wrong,
        "sticky": counts.sticky,
        "illegal_per_1000": counts.illegal_per_1000,
        "wrong_per_1000": counts.wrong_per_1000,
        "sticky_share": counts.sticky_share,
    }


def _settings(world: World, settings: Settings, quick: bool) -> dict[str, Any]:
    names = ("denoising_steps", "context_mode", "context_noise")
    given = {name: getattr(settings, name) for name in names}
    card = vars(world.card.sampler)
    return {**{k: card[k] if v is None else v for k, v in given.items()}, "quick": quick}


def _machine(dynamics: Dynamics) -> dict[str, Any]:
    return {
        "device": str(dynamics.device),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),  # a subclass of str, which no card takes
        "python": platform.python_version(),
    }
