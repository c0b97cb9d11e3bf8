"""Nodes whose result is known while compiling: constants, and sizes of inputs with the arithmetic on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from featherweight.runtime.dims import Dim, Size
from featherweight.runtime.lowering.builder import Array, Builder, as_whole
from featherweight.runtime.lowering.node import Node

# Not the same each time, of other graphs, or larger than anyone would fold.
_NOT_COMPUTED = ("RandomNormal", "RandomUniform", "Bernoulli", "Multinomial", "If", "Loop", "Scan", "Resize")
_MOST_ELEMENTS = 1 << 28  # of what is computed here: more is no constant but an attack


def is_arithmetic(operator: str) -> bool:
    """Whether an operator is one that sizes are computed with."""
    return operator in ("Shape", "Size") or operator in _SYMBOLIC


def evaluate(node: Node, proto: Any, builder: Builder) -> bool:
    """Compute a node whose inputs are all known; returns whether it was."""
    if node.op in ("Shape", "Size") and node.inputs and builder.has(node.inputs[0]):
        builder.know(node.output, _shape(node, builder))
        return True
    arrays = [builder.known(name) if name else None for name in node.inputs]
    if any(array is None and name for array, name in zip(arrays, node.inputs, strict=True)):
        return False
    if any(array is not None and array.dtype == object for array in arrays):
        if node.op not in _SYMBOLIC:
            return False
        result = _SYMBOLIC[node.op](node, arrays)
        builder.know(node.output, _narrowed(np.asarray(result, dtype=object)))
        return True
    return _by_onnx(node, proto, arrays, builder)


def _narrowed(array: Array) -> Array:
    """Return an array that holds no Dim as plain whole numbers."""
    if all(isinstance(item, int | np.integer) for item in array.reshape(-1)):
        return array.astype(np.int64)
    return array


def _shape(node: Node, builder: Builder) -> Array:
    sizes = builder.shape(node.inputs[0])
    if node.op == "Size":
        return np.asarray(np.prod(np.asarray(sizes, dtype=object)), dtype=object)
    return _array(sizes[node.get("start", 0) : node.get("end", None)])


def _array(sizes: tuple[Size, ...]) -> Array:
    if all(isinstance(size, int) for size in sizes):
        return np.asarray(sizes, dtype=np.int64)
    array = np.empty(len(sizes), dtype=object)
    array[:] = sizes
    return array


def _by_onnx(node: Node, proto: Any, arrays: list[Array | None], builder: Builder) -> bool:
    """Compute a node of plain arrays with ONNX's own reference; returns whether that knows the operator."""
    from onnx.reference import ReferenceEvaluator

    if node.op in _NOT_COMPUTED or not _is_small(node, arrays):
        return False
    feeds = {name: array for name, array in zip(node.inputs, arrays, strict=True) if name}
    try:
        results = ReferenceEvaluator(proto).run(None, feeds)
    except Exception:  # it knows not all operators: the handler decides
        return False
    for name, result in zip(node.outputs, results, strict=False):
        builder.know(name, np.asarray(result))
    return True


def _is_small(node: Node, arrays: list[Array | None]) -> bool:
    """Whether what comes out of an operator that makes large things of small ones is small."""
    if node.op not in ("ConstantOfShape", "Expand", "Range", "Tile"):
        return True
    given = [array for array in arrays if array is not None]
    sizes = [abs(float(size)) for size in given[-1].reshape(-1)[:64]]
    if node.op == "Range":
        start, end, step = (float(array.reshape(-1)[0]) for array in given)
        sizes = [abs((end - start) / step)] if step else []
    return math.prod(sizes) * (given[0].size if node.op == "Tile" else 1) <= _MOST_ELEMENTS


def _axes(node: Node, arrays: list[Array | None]) -> tuple[int, ...] | None:
    if "axes" in node.attributes:
        return tuple(node.attributes["axes"])
    given = arrays[1] if len(arrays) > 1 else None
    return None if given is None else tuple(int(axis) for axis in given.reshape(-1))


def _gather(node: Node, arrays: list[Array | None]) -> Array:
    data, indices = arrays[0], arrays[1]
    assert data is not None
    assert indices is not None
    return np.take(data, as_whole(indices, "places").astype(np.int64), axis=node.get("axis", 0))


def _slice(node: Node, arrays: list[Array | None]) -> Array:
    data, *parts = arrays
    assert data is not None
    starts, ends, axes, steps = (
        None if part is None else [int(item) for item in part.reshape(-1)]
        for part in (*parts, None, None)[:4]
    )
    index = [slice(None)] * data.ndim
    for place, (start, end) in enumerate(zip(starts or [], ends or [], strict=True)):
        index[axes[place] if axes else place] = slice(start, end, steps[place] if steps else None)
    return data[tuple(index)]


def _squeeze(node: Node, arrays: list[Array | None]) -> Array:
    assert arrays[0] is not None
    return np.squeeze(arrays[0], axis=_axes(node, arrays))


def _unsqueeze(node: Node, arrays: list[Array | None]) -> Array:
    assert arrays[0] is not None
    return np.expand_dims(arrays[0], axis=_axes(node, arrays) or ())


def _reshape(node: Node, arrays: list[Array | None]) -> Array:
    assert arrays[0] is not None
    assert arrays[1] is not None
    return arrays[0].reshape([int(size) for size in arrays[1]])


def _concat(node: Node, arrays: list[Array | None]) -> Array:
    return np.concatenate([array for array in arrays if array is not None], axis=node.get("axis", 0))


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Node, list[Array | None]], Any]:
    return lambda _, arrays: function(arrays[0], arrays[1])


def _same(node: Node, arrays: list[Array | None]) -> Array:
    assert arrays[0] is not None
    return arrays[0]


def _equal(node: Node, arrays: list[Array | None]) -> Array:
    """Sizes are above 0: so they are none of the marks, 0 and -1, that exporters compare them with."""
    left, right = np.broadcast_arrays(*(array for array in arrays if array is not None))
    pairs = list(zip(left.reshape(-1), right.reshape(-1), strict=True))
    if any(isinstance(a, Dim) != isinstance(b, Dim) and max(_number(a), _number(b)) > 0 for a, b in pairs):
        raise node.refuse("it compares a size that is not known before the network runs")
    return np.asarray([bool(a == b) for a, b in pairs]).reshape(left.shape)


def _number(size: Any) -> int:
    return 0 if isinstance(size, Dim) else int(size)


def _where(node: Node, arrays: list[Array | None]) -> Array:
    condition, yes, no = arrays
    assert condition is not None
    return np.where(condition.astype(bool), yes, no)  # pyright: ignore[reportArgumentType, reportCallIssue]


# The operators that exporters compute sizes with; np.asarray(object) applies Dim's arithmetic by element.
_SYMBOLIC: dict[str, Callable[[Node, list[Array | None]], Any]] = {
    "Add": _binary(lambda a, b: a + b),
    "Cast": _same,
    "Concat": _concat,
    "Div": _binary(lambda a, b: a // b),
    "Equal": _equal,
    "Floor": _same,
    "Gather": _gather,
    "Identity": _same,
    "Mul": _binary(lambda a, b: a * b),
    "ReduceProd": lambda node, arrays: np.prod(_same(node, arrays), keepdims=bool(node.get("keepdims", 1))),
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _binary(lambda a, b: a - b),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
