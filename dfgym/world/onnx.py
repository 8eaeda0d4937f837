"""Steps a world by onnxruntime instead of PyTorch: the setting `runtime`.

A small network in a small batch spends its time between operators; onnxruntime plans them once,
and a single environment steps more than twice as fast (docs/lab/speed.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dfgym.errors import MissingPackageError
from dfgym.world import runtime
from dfgym.world.bundle import World
from dfgym.world.cache import Batch
from dfgym.world.outcomes import Transition
from dfgym.world.settings import Settings
from dfgym.world.step import export_step, flatten

QUIET = 3
"""The lowest severity that onnxruntime logs: errors."""


class OnnxStep:
    """A step of `num_rows` rows, on one thread or more of the CPU.

    Args:
        world: the world.
        num_rows: b.
        settings: how it is run.
        threads: how many threads it may take.

    Raises:
        ConfigError: ONNX cannot express the world, or its settings.
        MissingPackageError: onnx or onnxruntime is missing.
    """

    def __init__(self, world: World, num_rows: int, settings: Settings, threads: int) -> None:
        self._name = world.card.name
        self._session = open_session(export_step(world, num_rows, settings), threads)
        self._names = [output.name for output in self._session.get_outputs()]
        size = (num_rows, world.card.frames.height, world.card.frames.width, 3)
        self._rows = np.arange(num_rows)
        # What a step that follows no given frame leaves alone.
        self._unused = {
            "observed": np.zeros(size, np.uint8),
            "is_observed": np.zeros(num_rows, bool),
        }

    def __call__(self, actions: np.ndarray, batch: Batch) -> Transition:
        """Make every row's next frame and commit it; `actions` as for `Dynamics.step`.

        Raises:
            WorldError: a number is not finite.
        """
        # NumPy sees the tensors' own memory, which a session reads without copying it.
        caches = [tensor.numpy() for tensor in flatten(batch.caches)]
        time = batch.time.numpy()
        inputs = {"action": actions, "seed": batch.seeds.numpy(), "time": time, **self._unused}
        inputs |= {f"cache.{i}": cache for i, cache in enumerate(caches)}
        results: dict[str, Any] = dict(
            zip(self._names, self._session.run(None, inputs), strict=True)
        )
        for name in ("termination_probability", "uncertainty"):
            runtime.check_finite(self._name, results[name])
        for i, cache in enumerate(caches):
            cache[self._rows, time % cache.shape[1]] = results[f"slot.{i}"]
        return Transition(
            results["frame"],
            results["reward"],
            results["terminated"],
            results["termination_probability"],
            results["uncertainty"],
            results.get("outcome_entropy"),
            results.get("epistemic"),
        )


def open_session(model: bytes, threads: int = 1) -> Any:
    """Load an ONNX file.

    Args:
        model: the file.
        threads: how many threads of the CPU it takes.

    Raises:
        MissingPackageError: onnxruntime is missing.
    """
    try:
        import onnxruntime
    except ImportError as reason:
        raise MissingPackageError(
            'runtime="onnx" needs the package onnxruntime: pip install "dfgym[export]"'
        ) from reason
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = QUIET
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
