"""What goes along axes."""

from __future__ import annotations

from featherweight.runtime.lowering.arithmetic import reduced_axes
from featherweight.runtime.lowering.builder import Builder
from featherweight.runtime.lowering.node import Node, handles


@handles("ReduceMean")
def reduce_mean(node: Node, build: Builder) -> None:
    """The mean over its axes."""
    axes, keep = reduced_axes(node, build), bool(node.get("keepdims", 1))
    build.emit("reduce_mean", [node.input(0)], node.output, axes=axes, keep=keep)


@handles("ReduceMax")
def reduce_max(node: Node, build: Builder) -> None:
    """The largest of a picture; along other axes it is not known."""
    shape = build.shape(node.input(0))
    if len(shape) != 4 or reduced_axes(node, build) != (2, 3):
        raise node.refuse("it is known over the two axes of a picture (N, C, H, W) only")
    keep = node.get("keepdims", 1)
    pooled = build.emit("global_max_pool", [node.input(0)], node.output if keep else None)
    if not keep:
        build.reshape(pooled, [0, 0], node.output)


@handles("Softmax")
def softmax(node: Node, build: Builder) -> None:
    """Along the last axis by default."""
    rank = len(build.shape(node.input(0)))
    build.emit("softmax", [node.input(0)], node.output, axis=node.get("axis", -1) % rank)


@handles("ArgMax")
def arg_max(node: Node, build: Builder) -> None:
    """The first of the largest."""
    if node.get("select_last_index", 0):
        raise node.refuse("it takes the last of several that are the largest; only the first is known")
    rank = len(build.shape(node.input(0)))
    keep = bool(node.get("keepdims", 1))
    build.emit("arg_max", [node.input(0)], node.output, axis=node.get("axis", 0) % rank, keep=keep)
