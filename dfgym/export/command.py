"""`dfgym export`: a world as an ONNX file, and as a page that needs no server of its own."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from msgspec import Meta

from dfgym import checks
from dfgym.errors import ConfigError
from dfgym.files import draft_path, write_atomic
from dfgym.world import shelf
from dfgym.world.settings import Settings


@dataclass(frozen=True)
class Export:
    """Write a step of a world as ONNX and, with --page, a page that any static server serves."""

    world: Annotated[str, tyro.conf.Positional]
    """A name on the shelf, or a folder's path."""
    out: Annotated[Path, tyro.conf.Positional]
    """The folder to write, which must not exist yet."""
    page: bool = False
    """Write a page too, on which the world is played in a browser."""
    onnxruntime_web: Path = Path("node_modules/onnxruntime-web")
    """The npm package that runs a page's network: `npm install onnxruntime-web` puts it there."""
    agent: str = ""
    """An agent to write beside it, whom a page offers as a player: sb3:<algorithm>:<zip file>. To
    load such a file is to run what its author put there: give none but your own."""
    rows: Annotated[int, Meta(ge=1)] = 1
    """How many rows a step of the file makes at once; a page takes 1."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = Settings()

    def __post_init__(self) -> None:
        checks.check(self, ConfigError)
        if self.page and self.rows != 1:
            raise ConfigError(f"rows is {self.rows}, and a page plays one game; leave one out")
        if not self.page and self.onnxruntime_web != Export.onnxruntime_web:
            raise ConfigError("onnxruntime_web is a page's and there is none; give page too")


def export(config: Export) -> list[Path]:
    """Write the folder, whole or not at all; returns its files.

    Raises:
        ConfigError: something is there already, ONNX cannot express the world, or the agent is
            none of this world's.
        WorldError: there is no such world, or it is damaged.
        MissingPackageError: onnx is missing.
    """
    if os.path.lexists(config.out):
        raise ConfigError(f"{config.out} exists; an export is written to a new folder")
    world = shelf.load(config.world)
    from dfgym.export import page
    from dfgym.world.step import Step, export_step, flatten

    step = Step(world, config.settings)
    shapes = [list(tensor.shape) for tensor in flatten(step.empty_caches(config.rows))]
    description = page.describe(world, config.settings, shapes)
    files = {
        "step.onnx": export_step(world, config.rows, config.settings),
        "starts.bin.gz": page.starts_file(world),
    }
    if config.agent:
        from dfgym.export.agent import export_agent  # Stable-Baselines3 is slow to import

        agent = export_agent(config.agent, config.world, config.rows)
        files["agent.onnx"] = agent.model
        description["agent"] = {"name": agent.label, "frame_stack": agent.frame_stack}
        description["hello"]["agents"].append(agent.label)
    files["world.json"] = json.dumps(description, indent=1, allow_nan=False).encode()
    if config.page:
        files |= page.page_files(world, config.settings, config.onnxruntime_web)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_path(config.out)
    try:
        draft.mkdir()
        for name, data in files.items():
            write_atomic(draft / name, data)
        draft.rename(config.out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return [config.out / name for name in files]
