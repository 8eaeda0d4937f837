"""What each of PyTorch's operators is in ONNX, for those that a step of a world takes.

Legend: shapes are fixed, so a change of shape, however it is spelled, is one `Reshape`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfgym.errors import ConfigError
from dfgym.tracing.graph import Graph

ELEMENTWISE = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "bitwise_xor": "BitwiseXor",
    "bitwise_and": "BitwiseAnd",
    "__and__": "BitwiseAnd",
    "__xor__": "BitwiseXor",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "cos": "Cos",
    "sin": "Sin",
    "neg": "Neg",
    "round": "Round",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "abs": "Abs",
    "relu": "Relu",
    "minimum": "Min",
    "maximum": "Max",
    "isnan": "IsNaN",
    "logical_not": "Not",
    "logical_and": "And",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "eq": "Equal",
}
"""Operators with a namesake."""
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "isnan")
RESHAPES = ("view", "_unsafe_view", "unsqueeze", "squeeze", "flatten", "unflatten", "reshape")
COPIES = ("clone", "alias", "detach", "lift_fresh", "contiguous")
CONSTANTS = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_full", "new_ones", "aminmax"}
CONSTANTS |= {"_is_all_true"}  # by which torch validates the arguments of a distribution
"""Operators whose results do not depend on what their inputs hold, or are only looked at."""


class Names:
    """The names, in a graph, of the tensors that depend on its inputs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._names: dict[int, tuple[str, Tensor]] = {}  # by id, which lives as the tensor does

    def __contains__(self, value: Any) -> bool:
        """Whether a value is a tensor that depends on an input."""
        return isinstance(value, Tensor) and id(value) in self._names

    def __setitem__(self, tensor: Tensor, name: str) -> None:
        """Name a tensor, or rename one that was written in place."""
        self._names[id(tensor)] = (name, tensor)

    def __getitem__(self, tensor: Tensor) -> str:
        """Return a tensor's name; one that depends on no input is stored as it is now."""
        if tensor in self:
            return self._names[id(tensor)][0]
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor)
        return self.graph.constant(tensor.detach().numpy())

    def operand(self, value: Any, dtype: torch.dtype) -> str:
        """Return the name of a tensor or number, brought to a type."""
        kind = _numpy(dtype)
        if not isinstance(value, Tensor):
            return self.graph.constant(value, kind)
        return self[value] if value.dtype == dtype else self.graph.cast(self[value], kind)


def write(names: Names, function: Any, args: Sequence[Any], kwargs: Any, result: Any) -> None:
    """Write an operator into the graph.

    Args:
        names: of the tensors before; gains those of the results.
        function: the operator, of `torch.ops.aten`.
        args: its arguments.
        kwargs: its keywords.
        result: what it returned.

    Raises:
        ConfigError: it is none of those here.
    """
    kind = function._schema.name.removeprefix("aten::")
    if kind in CONSTANTS:
        return
    if kind in ("index_put_", "index_put"):
        _write_slot(names, args[0], args[1], args[2], result)
    elif kind in ("split", "split_with_sizes", "unbind"):
        _write_split(names, kind, args, result)
    elif kind == "max" and not isinstance(result, Tensor):  # along an axis
        names[result[0]] = _write_reduction(names, "amax", args, result[0].dtype)
        names[result[1]] = names.graph.node("ArgMax", names[args[0]], axis=args[1], keepdims=0)
    elif isinstance(result, Tensor):
        names[result] = _write_one(names, kind, args, kwargs, result)
    elif kind == "native_layer_norm":
        names[result[0]] = _write_norm(names, *args)
    elif kind == "native_group_norm":
        names[result[0]] = _write_group_norm(names, *args)
    else:
        raise _refusal(function)


def _refusal(function: Any) -> ConfigError:
    return ConfigError(
        f"it takes {function}, which dfgym cannot write as ONNX; export another world or agent, "
        "or with other settings"
    )


def _numpy(dtype: torch.dtype) -> np.dtype[Any]:
    return torch.empty(0, dtype=dtype).numpy().dtype


def _write_one(names: Names, kind: str, args: Sequence[Any], kwargs: Any, result: Tensor) -> str:
    """Write an operator that returns one tensor; returns its name."""
    graph, first, shape = names.graph, args[0], result.shape
    match kind:
        case _ if kind in COPIES or kind in ("view_as_complex", "view_as_real"):
            return names[first]
        case _ if kind in RESHAPES:
            return graph.reshape(names[first], shape)
        case "mul" if result.is_complex():
            return _write_rotation(names, first, args[1])
        case _ if kind in ELEMENTWISE:
            return _write_elementwise(names, kind, args, kwargs, result)
        case "_to_copy":
            return names.operand(first, result.dtype)
        case "t":
            return graph.transpose(names[first], [1, 0])
        case "permute":
            return graph.transpose(names[first], [axis % first.dim() for axis in args[1]])
        case "transpose":
            order = list(range(first.dim()))
            i, j = args[1:]
            order[i], order[j] = order[j], order[i]
            return graph.transpose(names[first], order)
        case "expand":
            return graph.node("Expand", names[first], graph.constant(list(shape), np.int64))
        case "select":
            return _write_select(names, first, args[1], args[2], shape)
        case "slice":
            return _write_slice(names, *args)
        case "index":
            return _write_index(names, first, args[1])
        case "embedding":
            return graph.node("Gather", names[first], names[args[1]], axis=0)
        case "stack" | "cat":
            return _write_concat(names, kind, args, result)
        case "scatter" | "scatter_":
            updates = graph.constant(np.full(args[2].shape, args[3], _numpy(first.dtype)))
            return graph.node(
                "ScatterElements", names[first], names[args[2]], updates, axis=args[1]
            )
        case _:
            return _write_arithmetic(names, kind, args, kwargs, result)


def _write_arithmetic(
    names: Names, kind: str, args: Sequence[Any], kwargs: Any, result: Tensor
) -> str:
    graph, first, dtype = names.graph, args[0], result.dtype
    match kind:
        case "silu":
            x = names[first]
            return graph.node("Mul", x, graph.node("Sigmoid", x))
        case "addmm":
            return graph.node("Gemm", names[args[1]], names[args[2]], names[first])
        case "mm" | "bmm":
            return graph.node("MatMul", names[first], names[args[1]])
        case "addcmul":
            product = graph.node("Mul", names[args[1]], names[args[2]])
            return graph.node("Add", names[first], product)
        case "lerp":
            step = graph.node("Sub", names.operand(args[1], dtype), names[first])
            return graph.node(
                "Add", names[first], graph.node("Mul", step, names.operand(args[2], dtype))
            )
        case "convolution":
            return _write_convolution(names, *args[:5])
        case "_softmax" | "_log_softmax":
            name = "Softmax" if kind == "_softmax" else "LogSoftmax"
            if kind == "_softmax" and args[1] % first.dim() < first.dim() - 1:
                return _write_softmax(graph, names[first], args[1])
            return graph.node(name, names[first], axis=args[1])
        case "sum" | "mean" | "amax" | "all":
            return _write_reduction(names, kind, args, dtype)
        case "argmax" | "argmin":
            name = "ArgMax" if kind == "argmax" else "ArgMin"
            return graph.node(name, names[first], axis=args[1], keepdims=0)
        case "cumsum":
            return graph.node("CumSum", names[first], graph.constant(args[1], np.int64))
        case "where":
            values = (names.operand(value, dtype) for value in args[1:])
            return graph.node("Where", names[first], *values)
        case "clamp":
            bounds = [*args[1:], *[None] * (3 - len(args))]
            low, high = ("" if b is None else graph.constant(b, _numpy(dtype)) for b in bounds)
            return graph.node("Clip", names[first], *((low, high) if high else (low,)))
        case "pow" if args[1] == 2:
            return graph.node("Mul", names[first], names[first])
        case "logsumexp":
            axes = graph.constant(args[1], np.int64)
            return graph.node("ReduceLogSumExp", names[first], axes, keepdims=int(args[2]))
        case "constant_pad_nd":
            pads = list(zip(args[1][::2], args[1][1::2], strict=True))[::-1]  # the last axis first
            pads = [(0, 0)] * (first.dim() - len(pads)) + pads
            ends = graph.constant(
                [*(low for low, _ in pads), *(high for _, high in pads)], np.int64
            )
            return graph.node("Pad", names[first], ends, names.operand(args[2], dtype))
        case "remainder":
            return graph.node("Mod", names[first], names.operand(args[1], dtype))
        case "nan_to_num":
            nan = graph.node("IsNaN", names[first])
            return graph.node("Where", nan, names.operand(0, dtype), names[first])
        case "__rshift__":
            return _write_shift(graph, names[first], args[1])
        case _:
            raise _refusal(f"aten::{kind}")


def _write_elementwise(
    names: Names, kind: str, args: Sequence[Any], kwargs: Any, result: Tensor
) -> str:
    dtype = result.dtype
    if kind in COMPARISONS:
        dtype = args[0].dtype if len(args) == 1 else torch.result_type(*args[:2])
    if kwargs.get("alpha", 1) != 1:
        raise _refusal(f"aten::{kind} with alpha")
    operands = [names.operand(value, dtype) for value in args[:2]]
    return names.graph.node(ELEMENTWISE[kind], *operands)


def _write_reduction(names: Names, kind: str, args: Sequence[Any], dtype: torch.dtype) -> str:
    graph, first, dims = names.graph, args[0], args[1]
    axes = graph.constant(dims if isinstance(dims, list) else [dims], np.int64)
    keep = int(len(args) > 2 and args[2])
    if kind == "all":
        least = graph.node("ReduceMin", graph.cast(names[first], np.int32), axes, keepdims=keep)
        return graph.cast(least, np.bool_)
    name = {"sum": "ReduceSum", "mean": "ReduceMean", "amax": "ReduceMax"}[kind]
    return graph.node(name, names.operand(first, dtype), axes, keepdims=keep)


def _write_norm(
    names: Names, x: Tensor, shape: list[int], weight: Any, bias: Any, epsilon: float
) -> str:
    assert weight is None and bias is None, "the norms here have no weights of their own"
    gain = names.graph.constant(np.ones(shape, np.float32))
    return names.graph.node("LayerNormalization", names[x], gain, axis=-len(shape), epsilon=epsilon)


def _write_group_norm(names: Names, x: Tensor, *args: Any) -> str:
    weight, bias, n, c, hw, groups, epsilon = args
    assert weight is None and bias is None, "the norms here have no weights of their own"
    size = c // groups * hw
    gain = names.graph.constant(np.ones(size, np.float32))
    rows = names.graph.reshape(names[x], [n, groups, size])
    normal = names.graph.node("LayerNormalization", rows, gain, axis=-1, epsilon=epsilon)
    return names.graph.reshape(normal, x.shape)


def _write_convolution(
    names: Names, x: Tensor, weight: Tensor, bias: Tensor, stride: list[int], padding: list[int]
) -> str:
    """Write a convolution; a layer of 1 x 1 as the product that it is, channels last."""
    graph, outputs = names.graph, len(weight)
    if weight.shape[2:].numel() > 1:
        return graph.node(
            "Conv", names[x], names[weight], names[bias], strides=stride, pads=[*padding, *padding]
        )
    n, inputs, height, width = x.shape
    tokens = graph.reshape(graph.transpose(names[x], [0, 2, 3, 1]), [n * height * width, inputs])
    product = graph.node("Gemm", tokens, names[weight.view(outputs, inputs).t()], names[bias])
    return graph.transpose(graph.reshape(product, [n, height, width, outputs]), [0, 3, 1, 2])


def _write_softmax(graph: Graph, x: str, axis: int) -> str:
    """Write a softmax along an axis that is not the last, for which runtimes turn arrays about."""
    axes = graph.constant([axis], np.int64)
    exponential = graph.node("Exp", graph.node("Sub", x, graph.node("ReduceMax", x, axes)))
    return graph.node("Div", exponential, graph.node("ReduceSum", exponential, axes))


def _write_rotation(names: Names, x: Tensor, rope: Tensor) -> str:
    """Multiply complex numbers, which are pairs in the last axis here: a rotation of each pair.

    As x * (cos, cos) + (x with each pair swapped) * (-sin, sin): long rows are faster than pairs.
    """
    graph, shape, size = names.graph, x.shape, 2 * x.shape[-1]
    pairs = graph.reshape(names[x], [*shape[:-1], size])
    swap = graph.constant(np.eye(size, dtype=np.float32)[np.arange(size) ^ 1])
    flat = graph.constant([*rope.shape[:-1], size], np.int64)
    factors = []
    for place, signs in ((0, (1, 1)), (1, (-1, 1))):
        factor = graph.shared("Gather", names[rope], graph.constant([place] * 2, np.int64), axis=-1)
        factor = graph.shared("Mul", factor, graph.constant(signs, np.float32))
        factors.append(graph.shared("Reshape", factor, flat))
    swapped = graph.node("MatMul", pairs, swap)
    products = (
        graph.node("Mul", array, factor)
        for array, factor in zip((pairs, swapped), factors, strict=True)
    )
    return graph.reshape(graph.node("Add", *products), [*shape, 2])


def _write_shift(graph: Graph, x: str, bits: int) -> str:
    """Shift int64 right, as PyTorch does: the sign is carried along. ONNX shifts uint64 alone."""
    shifted = graph.node(
        "BitShift", graph.cast(x, np.uint64), graph.constant(bits, np.uint64), direction="RIGHT"
    )
    sign = graph.constant(1 << (63 - bits), np.int64)
    return graph.node("Sub", graph.node("BitwiseXor", graph.cast(shifted, np.int64), sign), sign)


def _write_select(names: Names, x: Tensor, axis: int, index: int, shape: torch.Size) -> str:
    if x.shape[axis] == 1:
        return names.graph.reshape(names[x], shape)
    place = names.graph.constant(index % x.shape[axis], np.int64)
    return names.graph.node("Gather", names[x], place, axis=axis)


def _write_slice(
    names: Names, x: Tensor, axis: int = 0, start: int | None = None, end: int | None = None
) -> str:
    if start in (0, None) and (end is None or end >= x.shape[axis]):
        return names[x]
    bounds = (start or 0, min(x.shape[axis] if end is None else end, x.shape[axis]), axis)
    graph = names.graph
    return graph.node("Slice", names[x], *(graph.constant([n], np.int64) for n in bounds))


def _write_index(names: Names, x: Tensor, index: Sequence[Tensor | None]) -> str:
    present = [i for i in index if i is not None]
    if any(i.dtype != torch.int64 for i in present):
        raise _refusal("aten::index by a mask")
    if len(present) == 1:
        axis = next(place for place, i in enumerate(index) if i is not None)
        return names.graph.node("Gather", names[x], names[present[0]], axis=axis)
    if len(present) < len(index):
        raise _refusal("aten::index with gaps")
    return names.graph.node("GatherND", names[x], _places(names, present))


def _places(names: Names, index: Sequence[Tensor]) -> str:
    """Return the places that some indices together stand for, one a row."""
    index = torch.broadcast_tensors(*index) if not any(i in names for i in index) else index
    columns = [
        names.graph.shared("Reshape", names[i], names.graph.constant([*i.shape, 1], np.int64))
        for i in index
    ]
    return names.graph.shared("Concat", *columns, axis=-1)


def _write_slot(
    names: Names, x: Tensor, index: Sequence[Tensor], values: Tensor, result: Tensor
) -> None:
    """Write `x[index] = values`, in place or not."""
    graph, places = names.graph, _places(names, index)
    shape = torch.Size((len(index[0]), *x.shape[len(index) :]))
    if values.numel() == shape.numel():  # PyTorch drops leading axes of size 1
        updates = graph.reshape(names[values], shape)
    else:
        updates = graph.node("Expand", names[values], graph.constant(list(shape), np.int64))
    names[result] = graph.node("ScatterND", names[x], places, updates)


def _write_split(names: Names, kind: str, args: Sequence[Any], results: Sequence[Tensor]) -> None:
    graph, x = names.graph, args[0]
    axis = (args[1] if len(args) > 1 else 0) if kind == "unbind" else (*args, 0)[2]
    if len(results) == 1:
        names[results[0]] = graph.reshape(names[x], results[0].shape)
        return
    sizes = [1 if kind == "unbind" else result.shape[axis] for result in results]
    pieces = graph.node(
        "Split", names[x], graph.constant(sizes, np.int64), outputs=len(results), axis=axis
    )
    for result, piece in zip(results, pieces, strict=True):
        names[result] = graph.reshape(piece, result.shape) if kind == "unbind" else piece


def _write_concat(names: Names, kind: str, args: Sequence[Any], result: Tensor) -> str:
    graph, axis = names.graph, args[1] if len(args) > 1 else 0
    axis %= result.dim()
    pieces = []
    for tensor in args[0]:
        name = names.operand(tensor, result.dtype)
        if kind == "stack":
            name = graph.reshape(name, [*tensor.shape[:axis], 1, *tensor.shape[axis:]])
        pieces.append(name)
    return pieces[0] if len(pieces) == 1 else graph.node("Concat", *pieces, axis=axis)
