"""Products and distances of whole vectors: what is summed over is cut alike in both."""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, positive, rule
from featherweight.structured.rules.pointwise import broadcast
from featherweight.structured.units import fixed


@rule("vdot.default")
def vdot(flow: Flow) -> list[Axes]:
    """``(n), (n) -> ()``."""
    (left,), (right,) = flow.all_axes()
    flow.unite(left, right)
    return [[]]


@rule("inner.default")
def inner(flow: Flow) -> list[Axes]:
    """``(..., k), (..., k) -> (..., ...)``."""
    left, right = flow.axes("self"), flow.axes("other")
    flow.unite(left[-1], right[-1])
    return [[*left[:-1], *right[:-1]]]


@rule("tensordot.default")
def tensordot(flow: Flow) -> list[Axes]:
    """Summed over the listed dimensions; what is left of the first, then of the second."""
    sides = [(flow.axes(name), flow[f"dims_{name}"]) for name in ("self", "other")]
    dims = [[positive(d, len(axes)) for d in given] for axes, given in sides]
    for mine, theirs in zip(*dims, strict=True):
        flow.unite(sides[0][0][mine], sides[1][0][theirs])
    return [[axis for (axes, _), gone in zip(sides, dims, strict=True)
             for d, axis in enumerate(axes) if d not in gone]]  # fmt: skip


@rule("linalg_multi_dot.default")
def multi_dot(flow: Flow) -> list[Axes]:
    """A chain of matrix products; the first and the last may be vectors."""
    first, *others = flow.all_axes("tensors")
    for other in others:
        flow.unite(first[-1], other[0])
        first = [*first[:-1], *other[1:]]
    return [first]


@rule("linalg_vecdot.default", "cosine_similarity.default")
def along_a_dimension(flow: Flow) -> list[Axes]:
    """Products of vectors along one dimension, as they broadcast: zeros count nothing."""
    left, right = flow.all_axes()
    rank = max(len(left), len(right))
    return [_without(flow, left, right, positive(flow["dim"], rank))]


@rule("pairwise_distance.default")
def pairwise_distance(flow: Flow) -> list[Axes]:
    """``(..., k), (..., k) -> (...)``; what is added to differences counts, over what is left."""
    left, right = flow.axes("x1"), flow.axes("x2")
    if flow["p"] <= 0:
        flow.freeze([left[-1], right[-1]], f"norm of order {flow['p']}")
    rank = max(len(left), len(right))
    found = _without(flow, left, right, rank - 1)
    for name, axes in (("x1", left), ("x2", right)):
        flow.reduce(flow[name], [len(axes) - 1])
    return [[*found, fixed(1)] if flow["keepdim"] else found]


def _without(flow: Flow, left: Axes, right: Axes, dim: int) -> Axes:
    """Return the axes that two tensors broadcast to, without one of them."""
    rank = max(len(left), len(right))
    sizes = [max((len(axes[d - rank]) for axes in (left, right) if len(axes) >= rank - d), default=1)
             for d in range(rank)]  # fmt: skip
    axes = broadcast(flow, [left, right], tuple(sizes))
    return [*axes[:dim], *axes[dim + 1 :]]
