"""Products of matrices: with a constant on either side it is ``linear``."""

from __future__ import annotations

import numpy as np

from featherweight.runtime.lowering.builder import Array, Builder
from featherweight.runtime.lowering.node import Node, handles


@handles("Gemm")
def gemm(node: Node, build: Builder) -> None:
    """Alpha op(A) op(B) + beta C."""
    a, b = node.input(0), node.input(1)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if build.known(b) is None:
        raise node.refuse("its second matrix is computed while the network runs; it must be a constant")
    weight = build.weights(b, "weight") * np.float32(alpha)
    weight = weight if node.get("transB", 0) else weight.T
    if node.get("transA", 0):
        a = build.emit("transpose", [a], permutation=(1, 0))
    c = node.input(2)
    added = build.weights(c, "C") * np.float32(beta) if c and build.known(c) is not None else None
    bias = None if added is None else _as_bias(added, weight.shape[0])
    rest = c and bias is None
    product = build.emit("linear", [a], None if rest else node.output, {"weight": weight, "bias": bias})
    if rest and added is not None:
        build.emit("add", [product], node.output, {"b": added})
    elif rest:
        scaled = c if beta == 1 else build.emit("mul", [c], constants={"b": np.asarray(beta)})
        build.emit("add", [product, scaled], node.output)


def _as_bias(added: Array, outputs: int) -> Array | None:
    """Return what is added as (outputs,), None where it differs from row to row."""
    if added.ndim > 2 or (added.ndim == 2 and added.shape[0] != 1):
        return None
    return np.broadcast_to(added.reshape(-1), (outputs,))


@handles("MatMul")
def matmul(node: Node, build: Builder) -> None:
    """Numpy's matmul."""
    a, b = node.input(0), node.input(1)
    if build.known(b) is not None:
        _times_constant(node, build, a, _matrix(node, build.weights(b, "weight")))
    elif build.known(a) is not None:
        _constant_times(node, build, _matrix(node, build.weights(a, "weight")), b)
    elif min(len(build.shape(a)), len(build.shape(b))) < 2:
        _vectors(node, build, a, b)
    else:
        build.emit("matmul", [a, b], node.output)


def _vectors(node: Node, build: Builder, a: str, b: str) -> None:
    """A vector is a matrix of one row before, or of one column after."""
    row, column = len(build.shape(a)) == 1, len(build.shape(b)) == 1
    a = build.reshape(a, [1, -1]) if row else a
    b = build.reshape(b, [-1, 1]) if column else b
    product = build.emit("matmul", [a, b])
    *batch, rows, columns = build.shape(product)
    kept = [*batch, *([] if row else [rows]), *([] if column else [columns])]
    build.reshape_to(product, kept, node.output)


def _matrix(node: Node, weight: Array) -> Array:
    """Return a constant without leading sizes of 1."""
    while weight.ndim > 2 and weight.shape[0] == 1:
        weight = weight[0]
    if weight.ndim > 2:
        raise node.refuse(f"its constant has shape {list(weight.shape)}; only a matrix is known")
    return weight


def _times_constant(node: Node, build: Builder, a: str, weight: Array) -> None:
    if weight.ndim == 2:
        build.emit("linear", [a], node.output, {"weight": weight.T})
        return
    column = build.emit("linear", [a], constants={"weight": weight[None, :]})
    rank = len(build.shape(a))
    build.reshape_to(column, build.shape(column)[: rank - 1], node.output)


def _constant_times(node: Node, build: Builder, weight: Array, b: str) -> None:
    """W b is (b' W')': the columns of b are what the weight is multiplied with."""
    rank = len(build.shape(b))
    if rank < 2 or weight.ndim < 2:
        raise node.refuse("it multiplies a vector from the left; only matrices are known")
    swap = (*range(rank - 2), rank - 1, rank - 2)
    columns = build.emit("transpose", [b], permutation=swap)
    product = build.emit("linear", [columns], constants={"weight": weight})
    build.emit("transpose", [product], node.output, permutation=swap)
