"""Elementwise operations: dimensions of the same size, counted from the last, are cut alike."""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, rule
from featherweight.structured.units import Axis, fixed

# Pointwise in fact, but not tagged so by PyTorch.
_UNTAGGED = (
    "hardswish.default", "hardswish_.default", "relu6_.default", "gelu_.default", "mish_.default",
    "threshold_.default", "log_sigmoid.default", "rrelu.default", "rrelu_.default", "rsub.Tensor",
    "where.ScalarOther", "where.ScalarSelf", "where.Scalar", "masked_fill.Tensor", "masked_fill_.Scalar",
    "masked_fill_.Tensor", "floor_divide.Scalar", "fill.Scalar", "fill_.Scalar", "fill_.Tensor",
    "zero_.default", "copy_.default", "complex.default", "polar.default", "bernoulli.p",
    "fake_quantize_per_tensor_affine.default",
)  # fmt: skip
_SAME = (
    "dropout.default", "dropout_.default", "feature_dropout.default", "alpha_dropout.default",
    "native_dropout.default", "clone.default", "contiguous.default", "detach.default", "detach_.default",
    "alias.default", "lift_fresh_copy.default", "lift_fresh_copy_.default", "lift.default",
    "to.dtype", "to.device", "to.dtype_layout", "to.other", "_to_copy.default", "type_as.default",
    "zeros_like.default", "ones_like.default", "full_like.default", "empty_like.default",
    "rand_like.default", "randn_like.default", "positive.default", "conj.default", "real.default",
    "imag.default", "resolve_conj.default", "view.dtype", "_assert_tensor_metadata.default",
)  # fmt: skip


@rule(*_UNTAGGED)
def pointwise(flow: Flow) -> list[Axes]:
    """Unite the axes that broadcasting lays over each other."""
    inputs = flow.all_axes()
    return [
        [_over(flow, inputs, size, rank) for rank, size in _from_last(flow.shape(0))]
        for _ in flow.call.outputs
    ]


@rule(*_SAME)
def same(flow: Flow) -> list[Axes]:
    """Pass the axes of the first tensor on."""
    first = flow.all_axes()[0]
    return [list(first) for _ in flow.call.outputs]


@rule("prelu.default", "_prelu_kernel.default")
def prelu(flow: Flow) -> list[Axes]:
    """A slope for each channel, the second dimension, or one for all."""
    axes, weight = flow.axes("self"), flow.axes("weight")
    slopes = next((axis for axis in weight if len(axis) > 1), None)
    if slopes is not None:
        flow.unite(axes[1], slopes)
    return [axes]


def broadcast(flow: Flow, inputs: list[Axes], shape: tuple[int, ...]) -> Axes:
    """Return the axes of the tensor of ``shape`` that ``inputs`` broadcast to."""
    return [_over(flow, inputs, size, rank) for rank, size in _from_last(shape)]


def _from_last(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return (place counted from the last, size) of each dimension, in order."""
    return [(len(shape) - place, size) for place, size in enumerate(shape)]


def _over(flow: Flow, inputs: list[Axes], size: int, from_last: int) -> Axis:
    here = [axes[-from_last] for axes in inputs if len(axes) >= from_last]
    whole = [axis for axis in here if len(axis) == size]
    flow.freeze((axis for axis in here if len(axis) != size), "broadcast from a single index")
    if not whole:
        return fixed(size)
    for axis in whole[1:]:
        flow.unite(whole[0], axis)
    return whole[0]
