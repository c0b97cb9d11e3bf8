"""Matrix products: the dimension that is summed over is cut alike in both operands."""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, rule
from featherweight.structured.rules.pointwise import broadcast
from featherweight.structured.units import Axis


@rule("linear.default")
def linear(flow: Flow) -> list[Axes]:
    """``(..., i) -> (..., o)``, weight ``(o, i)``."""
    x, weight = flow.axes("input"), flow.axes("weight")
    flow.unite(x[-1], weight[-1])
    out = weight[:-1]
    if flow.has("bias") and out:
        flow.unite(out[0], flow.axes("bias")[0])
    return [[*x[:-1], *out]]


@rule("matmul.default", "mm.default", "bmm.default", "mv.default", "dot.default")
def matmul(flow: Flow) -> list[Axes]:
    """``(..., n, k) @ (..., k, m) -> (..., n, m)``, as torch.matmul broadcasts."""
    left, right = flow.all_axes()
    return [product(flow, left, right)]


@rule("addmm.default", "baddbmm.default", "addmv.default", "addbmm.default")
def added(flow: Flow) -> list[Axes]:
    """``self + left @ right``."""
    start, left, right = flow.all_axes()
    return [broadcast(flow, [product(flow, left, right), start], flow.shape())]


def product(flow: Flow, left: Axes, right: Axes) -> Axes:
    """Return the axes of a matrix product."""
    flow.unite(left[-1], right[-2 if len(right) > 1 else 0])
    rows = [left[-2]] if len(left) > 1 else []
    columns = [right[-1]] if len(right) > 1 else []
    batch = [left[:-2], right[:-2]]
    sizes = flow.shape()[: len(flow.shape()) - len(rows) - len(columns)]
    return [*broadcast(flow, batch, sizes), *rows, *columns]


@rule("einsum.default")
def einsum(flow: Flow) -> list[Axes]:
    """Dimensions of the same letter are cut alike."""
    terms, _, result = flow["equation"].replace(" ", "").partition("->")
    operands = flow.all_axes("tensors")
    names = [letters_of(term, len(axes)) for term, axes in zip(terms.split(","), operands, strict=True)]
    letters: dict[str, Axis] = {}
    for term, axes in zip(names, operands, strict=True):
        for letter, axis in zip(term, axes, strict=True):
            letters[letter] = _met(flow, letters[letter], axis) if letter in letters else axis
    if "->" not in flow["equation"]:
        every = "".join(letter for term in names for letter in term if not letter.isdigit())
        result = "".join(sorted(letter for letter in set(every) if every.count(letter) == 1))
    rank = len(flow.shape())
    return [[letters[letter] for letter in letters_of(result, rank)]]


def letters_of(term: str, rank: int) -> list[str]:
    """Return a name for each dimension; those of the ellipsis are numbers, counted from its end."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(str(n) for n in range(hidden, 0, -1)), *after]


def _met(flow: Flow, a: Axis, b: Axis) -> Axis:
    if len(a) == len(b):
        return flow.unite(a, b)
    flow.freeze([a if len(a) == 1 else b], "broadcast from a single index")
    return b if len(a) == 1 else a


@rule("bilinear.default")
def bilinear(flow: Flow) -> list[Axes]:
    """``(..., i), (..., j) -> (..., o)``, weight ``(o, i, j)``."""
    first, second, weight = flow.axes("input1"), flow.axes("input2"), flow.axes("weight")
    flow.unite(first[-1], weight[1])
    flow.unite(second[-1], weight[2])
    if flow.has("bias"):
        flow.unite(weight[0], flow.axes("bias")[0])
    return [[*first[:-1], weight[0]]]


@rule("outer.default", "ger.default")
def outer(flow: Flow) -> list[Axes]:
    """``(n), (m) -> (n, m)``."""
    (left,), (right,) = flow.all_axes()
    return [[left, right]]


@rule("cdist.default")
def distances(flow: Flow) -> list[Axes]:
    """``(..., n, k), (..., m, k) -> (..., n, m)``; distances change when ``k`` is cut."""
    left, right = flow.all_axes()
    flow.freeze([left[-1], right[-1]], "distances between whole vectors")
    sizes = flow.shape()[:-2]
    return [[*broadcast(flow, [left[:-2], right[:-2]], sizes), left[-2], right[-2]]]
