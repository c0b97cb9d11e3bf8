"""Operations that only rearrange: views, permutations, expansions."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from featherweight.structured.rules._base import Axes, Flow, never_cut, positive, rule
from featherweight.structured.units import Axis, fixed


@rule(
    "view.default", "reshape.default", "_unsafe_view.default", "flatten.using_ints", "unflatten.int",
    "squeeze.default", "squeeze.dim", "squeeze.dims", "squeeze_.dim",
    "unsqueeze.default", "unsqueeze_.default",
    "ravel.default", "view_copy.default", "_reshape_copy.default",
)  # fmt: skip
def view(flow: Flow) -> list[Axes]:
    """Dimensions are merged and split, in order."""
    return [viewed(flow, flow.axes("self"), flow.shape())]


@rule("view_as.default", "reshape_as.default")
def view_as(flow: Flow) -> list[Axes]:
    """A view with the sizes of another tensor, which is cut alike."""
    axes = viewed(flow, flow.axes("self"), flow.shape())
    return [[flow.unite(mine, theirs) for mine, theirs in zip(axes, flow.axes("other"), strict=True)]]


def viewed(flow: Flow, axes: Axes, shape: tuple[int, ...]) -> Axes:
    """Return the axes after a view as ``shape``."""
    flow.freeze((axis for axis in axes if len(axis) == 1), "a view of a single index")
    sizes = [size for size in shape if size != 1]
    parts = _parts(flow, [axis for axis in axes if len(axis) != 1], sizes)
    return [fixed(1) if size == 1 else next(parts) for size in shape]


def _parts(flow: Flow, axes: Axes, sizes: list[int]) -> Iterator[Axis]:
    """Yield the new axes: of the smallest runs of dimensions that have as many entries before as after."""
    if prod(map(len, axes)) == 0:
        yield from never_cut(sizes)
        return
    axes, sizes = list(axes), list(sizes)
    while axes or sizes:
        old, new = [axes.pop(0)], [sizes.pop(0)]
        while (before := prod(map(len, old))) != (after := prod(new)):
            if before < after:
                old.append(axes.pop(0))
            else:
                new.append(sizes.pop(0))
        yield from old if [len(axis) for axis in old] == new else flow.units.split(flow.units.merge(old), new)


@rule("permute.default", "transpose.int", "t.default", "movedim.int", "movedim.intlist", "swapaxes.default",
      "numpy_T.default", "mT.default", "transpose_.int", "swapdims.default")  # fmt: skip
def permutation(flow: Flow) -> list[Axes]:
    """Dimensions change places."""
    axes = flow.axes("self")
    return [[axes[d] for d in _order(flow, len(axes))]]


def _order(flow: Flow, rank: int) -> list[int]:
    given = flow.call.arguments
    order = list(range(rank))
    if "dims" in given:
        return [positive(d, rank) for d in given["dims"]]
    if "source" in given:
        return _moved(given["source"], given["destination"], rank)
    if "T" in flow.call.op.split("."):
        return order[::-1]
    first, second = given.get("dim0", given.get("axis0", -2)), given.get("dim1", given.get("axis1", -1))
    if rank < 2:
        return order
    first, second = positive(first, rank), positive(second, rank)
    order[first], order[second] = second, first
    return order


def _moved(source: int | list[int], destination: int | list[int], rank: int) -> list[int]:
    one = isinstance(source, int)
    sources = [positive(d, rank) for d in ([source] if one else source)]  # pyright: ignore
    places = [positive(d, rank) for d in ([destination] if one else destination)]  # pyright: ignore
    order = [d for d in range(rank) if d not in sources]
    for place, moved in sorted(zip(places, sources, strict=True)):
        order.insert(place, moved)
    return order


@rule("expand.default", "expand_copy.default", "broadcast_to.default")
def expand(flow: Flow) -> list[Axes]:
    """A dimension of size 1 is repeated: how often is free until it meets another dimension."""
    axes, shape = flow.axes("self"), flow.shape()
    axes = [*never_cut([1] * (len(shape) - len(axes))), *axes]
    return [[_expanded(flow, axis, size) for axis, size in zip(axes, shape, strict=True)]]


def _expanded(flow: Flow, axis: Axis, size: int) -> Axis:
    if len(axis) == size:
        return axis
    flow.freeze([axis], "expanded from a single index")
    return flow.units.fresh(size)


@rule("expand_as.default")
def expand_as(flow: Flow) -> list[Axes]:
    """A dimension of size 1 takes the size of another tensor's."""
    axes, other = flow.axes("self"), flow.axes("other")
    axes = [*never_cut([1] * (len(other) - len(axes))), *axes]
    return [[mine if len(mine) == len(theirs) else theirs for mine, theirs in zip(axes, other, strict=True)]]


@rule("repeat.default", "tile.default")
def repeat(flow: Flow) -> list[Axes]:
    """A tensor is laid beside itself."""
    axes, shape = flow.axes("self"), flow.shape()
    axes = [*never_cut([1] * (len(shape) - len(axes))), *axes]
    merged = [flow.units.merge([fixed(size // len(a)), a]) if len(a) else fixed(size)
              for a, size in zip(axes, shape, strict=True)]  # fmt: skip
    return [merged]


@rule("repeat_interleave.self_int")
def interleave(flow: Flow) -> list[Axes]:
    """Each index is repeated in place."""
    axes, repeats = flow.axes("self"), flow["repeats"]
    if flow["dim"] is None:
        return [[flow.units.merge([*axes, fixed(repeats)])]]
    dim = flow.dim()
    return [[*axes[:dim], flow.units.merge([axes[dim], fixed(repeats)]), *axes[dim + 1 :]]]


@rule("view_as_complex.default")
def view_as_complex(flow: Flow) -> list[Axes]:
    """``(..., 2) -> (...)``."""
    axes = flow.axes("self")
    flow.freeze(axes[-1:], "real and imaginary part")
    return [axes[:-1]]


@rule("view_as_real.default")
def view_as_real(flow: Flow) -> list[Axes]:
    """``(...) -> (..., 2)``."""
    return [[*flow.axes("self"), fixed(2)]]


@rule("pixel_shuffle.default")
def pixel_shuffle(flow: Flow) -> list[Axes]:
    """``(..., c r r, h, w) -> (..., c, h r, w r)``."""
    *batch, channels, _, _ = flow.axes("self")
    factor = flow["upscale_factor"]
    out, across, down = flow.units.split(channels, [len(channels) // factor**2, factor, factor])
    flow.freeze([across, down], "position in the image")
    return [[*batch, out, *never_cut(flow.shape()[-2:])]]


@rule("pixel_unshuffle.default")
def pixel_unshuffle(flow: Flow) -> list[Axes]:
    """``(..., c, h r, w r) -> (..., c r r, h, w)``."""
    *batch, channels, _, _ = flow.axes("self")
    square = flow["downscale_factor"] ** 2
    return [[*batch, flow.units.merge([channels, fixed(square)]), *never_cut(flow.shape()[-2:])]]


@rule("channel_shuffle.default", "native_channel_shuffle.default")
def channel_shuffle(flow: Flow) -> list[Axes]:
    """``(n, groups x c, ...) -> (n, c x groups, ...)``."""
    batch, channels, *spatial = flow.axes("self")
    groups, inside = flow.units.split(channels, [flow["groups"], len(channels) // flow["groups"]])
    return [[batch, flow.units.merge([inside, groups]), *spatial]]


@rule("im2col.default")
def unfold_patches(flow: Flow) -> list[Axes]:
    """``(n, c, h, w) -> (n, c x kernel, places)``."""
    *batch, channels, _, _ = flow.axes("self")
    kernel = flow["kernel_size"][0] * flow["kernel_size"][1]
    return [[*batch, flow.units.merge([channels, fixed(kernel)]), fixed(flow.shape()[-1])]]


@rule("col2im.default")
def fold_patches(flow: Flow) -> list[Axes]:
    """``(n, c x kernel, places) -> (n, c, h, w)``."""
    *batch, columns, _ = flow.axes("self")
    kernel = flow["kernel_size"][0] * flow["kernel_size"][1]
    channels, inside = flow.units.split(columns, [len(columns) // kernel, kernel])
    flow.freeze([inside], "position in the image")
    return [[*batch, channels, *never_cut(flow.shape()[-2:])]]


@rule("unfold.default")
def windows(flow: Flow) -> list[Axes]:
    """``(..., n, ...) -> (..., windows, ..., size)`` along one dimension."""
    axes, dim = flow.axes("self"), flow.dim("dimension")
    flow.freeze([axes[dim]], "cut into windows")
    return [[*axes[:dim], fixed(flow.shape()[dim]), *axes[dim + 1 :], fixed(flow["size"])]]
