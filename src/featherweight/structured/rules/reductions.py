"""Reductions: the reduced dimension is gone, or of size 1.

Means, variances and norms over a dimension that may be cut run over what is left. Where an index that is zero
counts as much as others (maximum, softmax, sorting), or a sum is over what is not zero, it is not cut.
"""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, rule
from featherweight.structured.units import fixed


@rule("sum.default", "sum.dim_IntList")
def total(flow: Flow) -> list[Axes]:
    """A sum: the same over fewer indices, if those that go are zero."""
    if not flow.zero.get(flow["self"].name, False):
        flow.freeze((flow.axes("self")[d] for d in flow.dims()), "summed, and not zero where a channel is")
    return _without(flow, flow.dims())


@rule(
    "mean.default", "mean.dim", "var.default", "var.dim", "var.correction",
    "std.default", "std.dim", "std.correction", "var_mean.default", "var_mean.dim", "var_mean.correction",
    "std_mean.correction", "norm.ScalarOpt_dim", "norm.Scalar",
    "norm.ScalarOpt_dim_dtype", "linalg_vector_norm.default",
)  # fmt: skip
def statistic(flow: Flow) -> list[Axes]:
    """A statistic that can run over fewer indices."""
    order = flow.call.arguments.get("ord", flow.call.arguments.get("p", 2))
    if order not in {None, 2}:
        flow.freeze((flow.axes("self")[d] for d in flow.dims()), f"norm of order {order}")
    flow.reduce(flow["self"], flow.dims())
    return _without(flow, flow.dims())


@rule(
    "amax.default", "amin.default", "max.default", "min.default", "max.dim", "min.dim", "aminmax.default",
    "argmax.default", "argmin.default", "prod.default", "prod.dim_int", "logsumexp.default", "median.dim",
    "kthvalue.default", "nanmedian.dim", "mode.default",
    "any.default", "any.dim", "any.dims", "all.default", "all.dim", "all.dims",
)  # fmt: skip
def whole(flow: Flow) -> list[Axes]:
    """A reduction in which zeros count."""
    flow.freeze((flow.axes("self")[d] for d in flow.dims()), "reduced as a whole")
    return _without(flow, flow.dims())


def _without(flow: Flow, dims: list[int]) -> list[Axes]:
    axes = flow.axes("self")
    kept = [fixed(1) if d in dims else axis for d, axis in enumerate(axes)]
    if len(flow.shape()) != len(axes):
        kept = [axis for d, axis in enumerate(axes) if d not in dims]
    return [list(kept) for _ in flow.call.outputs]


@rule("linalg_norm.default", "linalg_norm.ord_str")
def norm(flow: Flow) -> list[Axes]:
    """The Euclidean norm can run over fewer indices; of a matrix that is the Frobenius norm."""
    euclidean = {None, 2, "fro"} if len(flow.dims()) == 1 else {None, "fro"}
    if flow["ord"] not in euclidean:
        flow.freeze((flow.axes("self")[d] for d in flow.dims()), f"norm of order {flow['ord']}")
    flow.reduce(flow["self"], flow.dims())
    return _without(flow, flow.dims())


@rule("diff.default")
def differences(flow: Flow) -> list[Axes]:
    """``(..., n, ...) -> (..., n - 1, ...)``: neighbours along one dimension."""
    axes, dim = flow.axes("self"), flow.dim()
    for other in (flow.axes(name) for name in ("prepend", "append") if flow.has(name)):
        flow.freeze([other[dim]], "neighbours are subtracted")
        for d in range(len(axes)):
            if d != dim:
                flow.unite(axes[d], other[d])
    flow.freeze([axes[dim]], "neighbours are subtracted")
    return [[*axes[:dim], fixed(flow.shape()[dim]), *axes[dim + 1 :]]]


@rule("rot90.default")
def rotated(flow: Flow) -> list[Axes]:
    """Two dimensions are turned."""
    axes, dims = flow.axes("self"), flow.dims("dims")
    flow.freeze((axes[d] for d in dims), "an index counts by its number")
    return [[fixed(flow.shape()[d]) if d in dims else axis for d, axis in enumerate(axes)]]


@rule("diagonal.default")
def diagonal(flow: Flow) -> list[Axes]:
    """``(..., n, ..., n, ...) -> (..., n)``."""
    axes = flow.axes("self")
    first, second = flow.dim("dim1"), flow.dim("dim2")
    if flow["offset"] or len(axes[first]) != len(axes[second]):
        flow.freeze([axes[first], axes[second]], "an index counts by its number")
        along = fixed(flow.shape()[-1])
    else:
        along = flow.unite(axes[first], axes[second])
    return [[*(axis for d, axis in enumerate(axes) if d not in (first, second)), along]]


@rule("glu.default")
def gated(flow: Flow) -> list[Axes]:
    """The first half of a dimension, gated by the second."""
    axes, dim = flow.axes("self"), flow.dim()
    half = len(axes[dim]) // 2
    axes[dim] = flow.unite(axes[dim][:half], axes[dim][half:])
    return [axes]


@rule("tril.default", "triu.default", "tril_.default", "triu_.default")
def triangle(flow: Flow) -> list[Axes]:
    """What is left depends on the numbers of row and column."""
    axes = flow.axes("self")
    flow.freeze(axes[-2:], "an index counts by its number")
    return [axes]


@rule("fft_rfft2.default", "fft_irfft2.default", "fft_fft2.default", "fft_ifft2.default", "fft_rfftn.default",
      "fft_irfftn.default", "fft_fftn.default", "fft_ifftn.default", "fft_rfft.default", "fft_irfft.default",
      "fft_fft.default", "fft_ifft.default", "fft_hfft.default", "fft_ihfft.default")  # fmt: skip
def fourier(flow: Flow) -> list[Axes]:
    """Every index of the transformed dimensions becomes part of every other."""
    axes = flow.axes("self")
    dims = flow.dims()
    flow.freeze((axes[d] for d in dims), "transformed as a whole")
    return [[fixed(flow.shape()[d]) if d in dims else axis for d, axis in enumerate(axes)]]


@rule(
    "softmax.int", "log_softmax.int", "_softmax.default", "_log_softmax.default", "cumsum.default",
    "cumprod.default", "logcumsumexp.default", "sort.default", "sort.stable", "argsort.default",
    "argsort.stable", "flip.default", "renorm.default", "topk.default", "cummax.default", "cummin.default",
    "fft_fftshift.default", "fft_ifftshift.default",
)  # fmt: skip
def along(flow: Flow) -> list[Axes]:
    """An operation in which the indices of one dimension depend on each other."""
    dims = flow.dims("dims" if flow.has("dims") else "dim")
    flow.freeze((flow.axes("self")[d] for d in dims), "its indices depend on each other here")
    axes = [
        axis if len(axis) == size else fixed(size)
        for axis, size in zip(flow.axes("self"), flow.shape(), strict=True)
    ]
    return [list(axes) for _ in flow.call.outputs]
