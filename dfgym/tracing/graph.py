"""An ONNX graph under construction: nodes, and the constants that they read.

A name stands for an array that is computed when the graph runs. Equal constants are stored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 18
IR_VERSION = 10
"""The version of the file format, which onnxruntime reads since 1.18."""
PRODUCER = "dfgym"


class Graph:
    """Collects nodes in the order in which they run."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._shared: dict[Any, str] = {}
        self._transposed: dict[str, tuple[str, list[int]]] = {}
        self._reshaped: dict[str, str] = {}

    def input(self, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> str:
        """Declare an input; returns its name."""
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        self._inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Return the name of a constant."""
        # Not `ascontiguousarray`, which makes a row of a scalar.
        array = np.asarray(value, dtype, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = name = f"c{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array, name))
        return self._constants[key]

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; returns the name of its output, or a list of the names of several."""
        names = [f"n{len(self._nodes)}.{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def shared(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Return the output of a node, which is added where there is no such node yet."""
        key = (kind, inputs, str(attributes))
        if key not in self._shared:
            self._shared[key] = self.node(kind, *inputs, **attributes)
        return self._shared[key]

    def reshape(self, name: str, shape: Sequence[int]) -> str:
        """Give an array another shape; one that only has another shape is passed over."""
        source = self._reshaped.get(name, name)
        result = self.shared("Reshape", source, self.constant(list(shape), np.int64))
        self._reshaped[result] = source
        return result

    def transpose(self, name: str, order: Sequence[int]) -> str:
        """Reorder axes; what only undoes the transposition before it takes that one's input."""
        source, before = self._transposed.get(name, (name, list(range(len(order)))))
        order = [before[axis] for axis in order]
        if order == sorted(order):
            return source
        result = self.shared("Transpose", source, perm=order)
        self._transposed[result] = (source, order)
        return result

    def cast(self, name: str, dtype: Any) -> str:
        """Bring an array to another type of numbers."""
        return self.shared("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def model(
        self, outputs: Sequence[tuple[str, str, np.dtype[Any], Sequence[int]]], doc: str
    ) -> bytes:
        """Finish the graph.

        Args:
            outputs: of each the array's name in the graph, the output's own, its type and shape.
            doc: a text that the file carries.

        Returns:
            The file.
        """
        infos = []
        for array, name, dtype, shape in outputs:
            self._nodes.append(helper.make_node("Identity", [array], [name]))
            kind = helper.np_dtype_to_tensor_dtype(dtype)
            infos.append(helper.make_tensor_value_info(name, kind, list(shape)))
        nodes, needed = [], {name for _, name, _, _ in outputs}
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                nodes.append(node)
                needed.update(node.input)
        constants = [tensor for tensor in self._initializers if tensor.name in needed]
        graph = helper.make_graph(nodes[::-1], "step", self._inputs, infos, constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=PRODUCER,
            doc_string=doc,
        )
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())
