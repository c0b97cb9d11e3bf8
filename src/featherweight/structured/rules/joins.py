"""Concatenation and its opposites: rows of axes are laid end to end, or taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from featherweight.structured.rules._base import Axes, Flow, never_cut, positive, rule
from featherweight.structured.units import NONE, Axis, fixed


@rule("cat.default", "concat.default", "concatenate.default")
def concatenate(flow: Flow) -> list[Axes]:
    """The dimension that is joined has the indices of all, in order; the others are cut alike."""
    tensors = [axes for axes in flow.all_axes("tensors") if len(axes) == len(flow.shape())]
    return [_joined(flow, tensors, flow.dim(rank=len(flow.shape())))]


def _joined(flow: Flow, tensors: list[Axes], dim: int) -> Axes:
    first = list(tensors[0])
    for other in tensors[1:]:
        for d in range(len(first)):
            if d != dim:
                flow.unite(first[d], other[d])
    first[dim] = end_to_end([axes[dim] for axes in tensors])
    return first


@rule("hstack.default")
def side_by_side(flow: Flow) -> list[Axes]:
    """The second dimension is joined; of vectors the only one."""
    tensors = flow.all_axes("tensors")
    return [_joined(flow, tensors, min(1, len(flow.shape()) - 1))]


@rule("stack.default")
def stack(flow: Flow) -> list[Axes]:
    """A new dimension that is never cut; the others are cut alike."""
    tensors = flow.all_axes("tensors")
    for other in tensors[1:]:
        for mine, theirs in zip(tensors[0], other, strict=True):
            flow.unite(mine, theirs)
    dim = flow.dim(rank=len(flow.shape()))
    return [[*tensors[0][:dim], fixed(len(tensors)), *tensors[0][dim:]]]


def end_to_end(axes: Sequence[Axis]) -> Axis:
    """Return the axis of all indices of ``axes``, one axis after the other."""
    width = max(axis.shape[1] for axis in axes)
    return np.concatenate(
        [np.pad(axis, ((0, 0), (0, width - axis.shape[1])), constant_values=NONE) for axis in axes]
    )


@rule(
    "split.Tensor", "split.sizes", "split_with_sizes.default", "chunk.default", "tensor_split.sections",
    "tensor_split.indices", "unsafe_split.Tensor", "unsafe_chunk.default", "hsplit.int", "split_copy.Tensor",
)  # fmt: skip
def split(flow: Flow) -> list[Axes]:
    """A dimension is taken apart."""
    axes = flow.axes("self")
    dim = flow.dim()
    ends = np.cumsum([0, *(flow.shape(part)[dim] for part in range(len(flow.call.outputs)))])
    return [[*axes[:dim], axes[dim][start:stop], *axes[dim + 1 :]] for start, stop in pairwise(ends)]


@rule("unbind.int")
def unbind(flow: Flow) -> list[Axes]:
    """Each index of a dimension becomes a tensor: all must stay."""
    axes, dim = flow.axes("self"), flow.dim()
    flow.freeze([axes[dim]], "each index is used by its number")
    return [[*axes[:dim], *axes[dim + 1 :]] for _ in flow.call.outputs]


@rule("select.int")
def select(flow: Flow) -> list[Axes]:
    """One index of a dimension is taken, by its number."""
    axes, dim = flow.axes("self"), flow.dim()
    flow.freeze([axes[dim]], "an index is used by its number")
    return [[*axes[:dim], *axes[dim + 1 :]]]


@rule("slice.Tensor", "narrow.default")
def take_slice(flow: Flow) -> list[Axes]:
    """A stretch of a dimension."""
    axes, dim = flow.axes("self"), flow.dim()
    step = flow.call.arguments.get("step") or 1
    if step != 1:
        flow.freeze([axes[dim]], "indices are taken by their number")
    size = len(axes[dim])
    start = positive(flow["start"] or 0, size)
    if flow.has("length"):
        stop = start + flow["length"]
    else:
        stop = positive(min(flow["end"], size), size) if flow.has("end") else size
    part = axes[dim][start:stop:step]
    return [[*axes[:dim], part, *axes[dim + 1 :]]]


@rule("pad.default", "constant_pad_nd.default")
def pad(flow: Flow) -> list[Axes]:
    """Indices are added at the ends (or taken, where negative); those are never cut."""
    axes = flow.axes("self")
    amounts = list(flow["pad"])
    for place in range(len(amounts) // 2):
        before, after = amounts[2 * place : 2 * place + 2]
        if before or after:
            axes[-1 - place] = _padded(flow, axes[-1 - place], before, after)
    return [axes]


def _padded(flow: Flow, axis: Axis, before: int, after: int) -> Axis:
    if flow.call.arguments.get("mode", "constant") != "constant":
        flow.freeze([axis], "padded with its own indices")
        return fixed(len(axis) + before + after)
    kept = axis[max(0, -before) : len(axis) - max(0, -after)]
    return end_to_end([fixed(max(0, before)), kept, fixed(max(0, after))])


@rule("reflection_pad1d.default", "reflection_pad2d.default", "replication_pad1d.default",
      "replication_pad2d.default", "reflection_pad3d.default", "replication_pad3d.default")  # fmt: skip
def pad_image(flow: Flow) -> list[Axes]:
    """An image is padded with itself."""
    spatial = len(flow["padding"]) // 2
    return [[*flow.axes("self")[:-spatial], *never_cut(flow.shape()[-spatial:])]]


@rule("roll.default")
def roll(flow: Flow) -> list[Axes]:
    """Indices move round: by their number."""
    axes = flow.axes("self")
    flow.freeze((axes[d] for d in flow.dims("dims")), "moved by a number of indices")
    return [axes]
