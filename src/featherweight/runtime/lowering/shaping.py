"""What gives the same elements another shape or order."""

from __future__ import annotations

import numpy as np

from featherweight.runtime.dims import Size, product
from featherweight.runtime.lowering.builder import Builder
from featherweight.runtime.lowering.node import Node, handles
from featherweight.runtime.operations.pointwise import DTYPES

MOST_REPEATED = 1 << 28  # elements of the zeros that repeat a value


@handles("Identity")
def identity(node: Node, build: Builder) -> None:
    """Nothing happens."""
    build.alias(node.output, node.input(0))


@handles("Dropout")
def dropout(node: Node, build: Builder) -> None:
    """Nothing happens while not training."""
    if node.input(2) and build.weights(node.input(2), "training_mode").any():
        raise node.refuse("it is exported as training; export the network in evaluation mode")
    build.alias(node.output, node.input(0))


@handles("Cast")
def cast(node: Node, build: Builder) -> None:
    """Between floats nothing happens: all are float32."""
    from onnx import helper

    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(node.get("to", 1))).name
    floats = ("float16", "bfloat16", "float64", "float32")
    if dtype in floats:
        dtype = "float32"
    if dtype == build.dtype(node.input(0)):
        build.alias(node.output, node.input(0))
    elif dtype in DTYPES:
        build.emit("cast", [node.input(0)], node.output, dtype=dtype)
    else:
        raise node.refuse(f"{dtype} is not known; known are {', '.join(DTYPES)}")


@handles("Reshape")
def reshape(node: Node, build: Builder) -> None:
    """To a shape that is known, but for sizes that are one of the input's."""
    target = build.known(node.input(1))
    if target is None:
        raise node.refuse("its shape is computed from values; only from shapes is it known")
    if node.get("allowzero", 0) and any(size == 0 for size in target):
        raise node.refuse("it makes an array without elements")
    shape = build.shape(node.input(0))
    sizes = [shape[place] if size == 0 else _as_size(size) for place, size in enumerate(target)]
    build.reshape_to(node.input(0), sizes, node.output)


def _as_size(size: Size) -> Size:
    return size if hasattr(size, "symbols") else int(size)  # pyright: ignore[reportArgumentType]


@handles("Flatten")
def flatten(node: Node, build: Builder) -> None:
    """Into two axes."""
    shape, axis = build.shape(node.input(0)), node.get("axis", 1)
    axis = axis % len(shape) if axis < 0 else axis
    build.reshape_to(node.input(0), [product(shape[:axis]), product(shape[axis:])], node.output)


@handles("Squeeze")
def squeeze(node: Node, build: Builder) -> None:
    """Axes of 1 go."""
    shape = build.shape(node.input(0))
    axes = _axes(node, build, len(shape))
    if axes is None:
        axes = [axis for axis, size in enumerate(shape) if size == 1]
    if any(shape[axis] != 1 for axis in axes):
        raise node.refuse(f"it drops the axes {axes} of {list(shape)}, which must be 1")
    build.reshape_to(
        node.input(0), [size for axis, size in enumerate(shape) if axis not in axes], node.output
    )


@handles("Unsqueeze")
def unsqueeze(node: Node, build: Builder) -> None:
    """Axes of 1 come."""
    shape = build.shape(node.input(0))
    count = len(_given_axes(node, build) or [])
    axes = _axes(node, build, len(shape) + count) or []
    old = iter(shape)
    sizes = [1 if axis in axes else next(old) for axis in range(len(shape) + count)]
    build.reshape_to(node.input(0), sizes, node.output)


def _axes(node: Node, build: Builder, rank: int) -> list[int] | None:
    axes = _given_axes(node, build)
    return None if axes is None else [node.axis(axis, rank) for axis in axes]


def _given_axes(node: Node, build: Builder) -> list[int] | None:
    return build.numbers(node.input(1), "axes") if node.input(1) else node.get("axes", None)


@handles("Transpose")
def transpose(node: Node, build: Builder) -> None:
    """Back to front by default."""
    rank = len(build.shape(node.input(0)))
    permutation = tuple(node.get("perm", None) or reversed(range(rank)))
    build.emit("transpose", [node.input(0)], node.output, permutation=permutation)


@handles("DepthToSpace")
def depth_to_space(node: Node, build: Builder) -> None:
    """Channels become pixels."""
    mode = node.get("mode", "DCR")
    build.emit("depth_to_space", [node.input(0)], node.output, block=node.get("blocksize", 1), mode=mode)


@handles("SpaceToDepth")
def space_to_depth(node: Node, build: Builder) -> None:
    """Pixels become channels: (N, C, H, W) gives (N, block block C, H / block, W / block)."""
    block = node.get("blocksize", 1)
    n, c, h, w = build.shape(node.input(0))
    blocks = build.reshape_to(node.input(0), [n, c, h // block, block, w // block, block])
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    moved = build.emit("transpose", [blocks], permutation=order)
    build.reshape_to(moved, [n, c * block * block, h // block, w // block], node.output)


@handles("Expand")
def expand(node: Node, build: Builder) -> None:
    """Adds zeros that repeat what is repeated; a constant keeps its shape, and is known to be of that one."""
    target = build.known(node.input(1))
    if target is None:
        raise node.refuse("its shape is computed from values; only from shapes is it known")
    sizes = [_as_size(size) for size in target]
    known = build.known(node.input(0))
    if known is not None:
        build.know_repeated(node.output, known, sizes)
        return
    shape = build.shape(node.input(0))
    rank = max(len(shape), len(sizes))
    old, new = ((1,) * (rank - len(each)) + tuple(each) for each in (shape, sizes))
    repeats = [1 if b in (1, a) else b for a, b in zip(old, new, strict=True)]
    if not all(isinstance(size, int) for size in repeats):
        raise node.refuse(f"it repeats {list(shape)} to {sizes}, not known while compiling")
    if product(repeats) > MOST_REPEATED:  # pyright: ignore[reportOperatorIssue]
        raise node.refuse(f"it repeats {list(shape)} to {sizes}, which is too large")
    if all(size == 1 for size in repeats) and rank == len(shape):
        build.alias(node.output, node.input(0))
    else:
        build.emit("add", [node.input(0)], node.output, {"b": np.zeros(repeats, np.float32)})  # pyright: ignore
