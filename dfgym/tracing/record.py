"""Turns a computation on tensors into an ONNX graph: runs it once, and writes down what it does.

PyTorch's own exporters were tried first: one takes minutes for a graph of a thousand nodes, the
other is deprecated and knows no 64-bit shifts. Here every shape is fixed, and whatever does not
depend on an input (the conditioning of each signal level, tables, masks) is worked out by PyTorch
and stored as a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dfgym.errors import ConfigError
from dfgym.tracing.graph import Graph
from dfgym.tracing.operators import Names, write


class _Recorder(TorchDispatchMode):
    """Runs operators as always, and writes those that depend on an input into a graph."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self._names = names

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep PyTorch from importing its compiler, which takes seconds, to leave this alone."""
        return False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator."""
        kwargs = kwargs or {}
        traced = any(leaf in self._names for leaf in tree_leaves((args, kwargs)))
        if traced and function._schema.is_mutable:
            self._names[args[0]] = self._names[args[0]]  # what it held before
        result = function(*args, **kwargs)
        if traced:
            write(self._names, function, args, kwargs, result)
        return result


def record(
    compute: Callable[..., Mapping[str, Tensor]], inputs: Mapping[str, Tensor], doc: str
) -> bytes:
    """Record a computation as an ONNX file.

    Args:
        compute: called with the inputs; returns the outputs by name. It must not branch on what
            its inputs hold.
        inputs: examples, by the names of the file's inputs. They may be written in place.
        doc: a text that the file carries.

    Raises:
        ConfigError: it does what ONNX cannot express.
    """
    names = Names(Graph())
    for name, tensor in inputs.items():
        array = tensor.numpy()
        names[tensor] = names.graph.input(name, array.dtype, array.shape)
    with torch.no_grad(), _Recorder(names):
        results = compute(*inputs.values())
    outputs = []
    for name, tensor in results.items():
        if tensor not in names:
            raise ConfigError(f"the output {name} depends on no input, which ONNX cannot express")
        array = tensor.numpy()
        outputs.append((names[tensor], name, array.dtype, array.shape))
    return names.graph.model(outputs, doc)
