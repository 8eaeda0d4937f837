"""What all tests share: one thread, reproducible examples, and the fixtures of the toys."""

from __future__ import annotations

import hypothesis
import torch

torch.set_num_threads(1)  # two threads are slower than one on so small tensors, and fork is safer

# The same examples in every run, and none written to disk.
hypothesis.settings.register_profile("dfgym", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("dfgym")

pytest_plugins = [
    "toys.world",
    "toys.counter",
    "toys.play",
    "toys.game",
    "toys.page",
    "toys.breakout",
]
