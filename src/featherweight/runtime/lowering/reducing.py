"""What goes along axes."""

from __future__ import annotations

from featherweight.runtime.dims import product
from featherweight.runtime.lowering.arithmetic import reduced_axes
from featherweight.runtime.lowering.builder import Builder
from featherweight.runtime.lowering.node import Node, handles


@handles("ReduceMean")
def reduce_mean(node: Node, build: Builder) -> None:
    """The mean over its axes."""
    axes, keep = reduced_axes(node, build), bool(node.get("keepdims", 1))
    build.emit("reduce_mean", [node.input(0)], node.output, axes=axes, keep=keep)


@handles("ReduceMax", "ReduceMin")
def reduce_max(node: Node, build: Builder) -> None:
    """The largest of a picture, which other axes are made into; the least is that of the opposites."""
    x, axes = node.input(0), reduced_axes(node, build)
    if node.op == "ReduceMin":
        x = build.unary("neg", x)
    shape = build.shape(x)
    picture = x if axes == (2, 3) and len(shape) == 4 else _picture(build, x, axes)
    pooled = build.emit("global_max_pool", [picture])
    kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
    if not node.get("keepdims", 1):
        kept = [size for axis, size in enumerate(shape) if axis not in axes]
    shaped = build.reshape_to(pooled, kept, node.output if node.op == "ReduceMax" else None)
    if node.op == "ReduceMin":
        build.unary("neg", shaped, node.output)


def _picture(build: Builder, x: str, axes: tuple[int, ...]) -> str:
    """Return x as (the first axis that stays, the others, what is reduced, 1)."""
    shape = build.shape(x)
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    if kept + list(axes) != list(range(len(shape))):
        x = build.emit("transpose", [x], permutation=(*kept, *axes))
    first = shape[kept[0]] if kept else 1
    others, reduced = (product(shape[axis] for axis in group) for group in (kept[1:], axes))
    return build.reshape_to(x, [first, others, reduced, 1])


@handles("Softmax", "LogSoftmax")
def softmax(node: Node, build: Builder) -> None:
    """Along the last axis by default."""
    rank = len(build.shape(node.input(0)))
    op = "softmax" if node.op == "Softmax" else "log_softmax"
    build.emit(op, [node.input(0)], node.output, axis=node.axis(node.get("axis", -1), rank))


@handles("ArgMax", "ArgMin")
def arg_max(node: Node, build: Builder) -> None:
    """The first of the largest; the least is the largest of the opposites."""
    if node.get("select_last_index", 0):
        raise node.refuse("it takes the last of several that are equal; only the first is known")
    x = node.input(0) if node.op == "ArgMax" else build.unary("neg", node.input(0))
    rank = len(build.shape(x))
    keep = bool(node.get("keepdims", 1))
    build.emit("arg_max", [x], node.output, axis=node.axis(node.get("axis", 0), rank), keep=keep)
