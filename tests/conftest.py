"""What all tests share: one thread, the cores, reproducible examples, and the toys' fixtures."""

from __future__ import annotations

import contextlib
import os

import hypothesis
import pytest
import torch

from dfgym.errors import MissingPackageError
from dfgym.games.minatar import import_game

torch.set_num_threads(1)  # two threads are slower than one on so small tensors, and fork is safer

with contextlib.suppress(MissingPackageError):
    # So that no `importorskip("minatar")` waits for all that MinAtar brings.
    import_game("breakout")

# The same examples in every run, and none written to disk.
hypothesis.settings.register_profile("dfgym", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("dfgym")

pytest_plugins = [
    "toys.cluster",
    "toys.world",
    "toys.counter",
    "toys.play",
    "toys.game",
    "toys.page",
    "toys.breakout",
    "toys.things",
    "toys.actions",
    "toys.cluster",
]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share the files among the cores, unless the command names one file alone.

    A worker runs whole files, so that what a module prepares is prepared once, and in their order,
    since the slowest file has few tests and must not come last. `-n` and `--dist` say otherwise,
    `--pdb` stays in this process, and without pytest-xdist nothing is shared.
    """
    options = config.option
    if "PYTEST_XDIST_WORKER" in os.environ or getattr(options, "numprocesses", 0) is not None:
        return
    paths = {argument.split("::")[0] for argument in config.args}
    if len(paths) > 1 or any(os.path.isdir(path) for path in paths):
        options.numprocesses, options.maxprocesses = "logical", options.maxprocesses or 8
        options.dist = "loadfile" if options.dist == "no" else options.dist
        options.loadscopereorder = False
