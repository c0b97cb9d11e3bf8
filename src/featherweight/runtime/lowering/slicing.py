"""What takes parts of a value, or puts values together."""

from __future__ import annotations

from typing import Any

import numpy as np

from featherweight.runtime.lowering.builder import Array, Builder, as_whole
from featherweight.runtime.lowering.node import Node, handles

_END = 2**31 - 1
_MOST_RUNS = 64  # of a Gather


def take(build: Builder, x: str, axis: int, part: slice, output: str | None = None) -> str:
    """Add x[..., start:stop:step, ...] along one axis."""
    return build.emit(
        "slice", [x], output, starts=(part.start,), ends=(part.stop,), axes=(axis,), steps=(part.step or 1,)
    )


@handles("Slice")
def slice_(node: Node, build: Builder) -> None:
    """Bounds are inputs, or attributes in older opsets."""
    shape = build.shape(node.input(0))
    starts, ends = (_bounds(node, build, place, name) for place, name in ((1, "starts"), (2, "ends")))
    axes = _bounds(node, build, 3, "axes") or list(range(len(starts)))
    steps = _bounds(node, build, 4, "steps") or [1] * len(starts)
    axes = [node.axis(int(axis), len(shape)) for axis in axes]
    ends = [_END if end == shape[axis] else end for end, axis in zip(ends, axes, strict=True)]
    if any(hasattr(bound, "symbols") for bound in (*starts, *ends)):
        raise node.refuse(f"its bounds {starts} to {ends} hang on the inputs' sizes")
    build.emit(
        "slice",
        [node.input(0)],
        node.output,
        starts=tuple(_clamped(start) for start in starts),
        ends=tuple(_clamped(end) for end in ends),
        axes=tuple(axes),
        steps=tuple(_clamped(step) for step in steps),
    )


def _bounds(node: Node, build: Builder, place: int, name: str) -> list[Any]:
    if not node.input(place):
        return list(node.get(name, []))
    known = build.known(node.input(place))
    if known is None:
        raise node.refuse(f"its {name} are computed while the network runs; they must be constants")
    return list(as_whole(known, name).reshape(-1))


def _clamped(bound: Any) -> int:
    return max(-_END, min(_END, int(bound)))


@handles("Split")
def split(node: Node, build: Builder) -> None:
    """Slices, of sizes that are given or equal."""
    shape = build.shape(node.input(0))
    axis = node.axis(node.get("axis", 0), len(shape))
    sizes = build.numbers(node.input(1), "split") if node.input(1) else node.get("split", None)
    if sizes is None:
        size, count = shape[axis], node.get("num_outputs", len(node.outputs))
        if not isinstance(size, int):
            raise node.refuse(f"it cuts a size that is not known ({size}) into equal parts")
        each = -(-size // count)
        sizes = [min(each, size - each * place) for place in range(count)]
    at = 0
    if (isinstance(shape[axis], int) and sum(sizes) != shape[axis]) or min(sizes) < 0:
        raise node.refuse(f"it cuts {shape[axis]} into {sizes}")
    for output, size in zip(node.outputs, sizes, strict=True):
        if output:
            take(build, node.input(0), axis, slice(at, at + size), output)
        at += size


@handles("Gather")
def gather(node: Node, build: Builder) -> None:
    """One place of an axis, or several: slices, one after the other."""
    x, places = node.input(0), build.known(node.input(1))
    if build.known(x) is not None:
        raise node.refuse(
            "it looks up a table by what is computed (an embedding); the runtime has no such kernel"
        )
    if places is None or places.dtype == object:
        raise node.refuse("its places are computed while the network runs; they must be constants")
    shape = build.shape(x)
    axis = node.axis(node.get("axis", 0), len(shape))
    size = shape[axis]
    if isinstance(size, int) and not ((-size <= places) & (places < size)).all():
        raise node.refuse(f"its places {places.reshape(-1).tolist()[:8]} are not all in an axis of {size}")
    if places.ndim == 0:
        at = int(places)
        one = take(build, x, axis, slice(at, at + 1 if at != -1 else _END))
        build.reshape_to(one, [*shape[:axis], *shape[axis + 1 :]], node.output)
        return
    if (places < 0).any():
        if not isinstance(size, int):
            raise node.refuse(
                f"its places {places.tolist()[:8]} are counted from the end of a size that is not known"
            )
        places = np.where(places < 0, places + size, places)
    runs = _runs([int(place) for place in places.reshape(-1)])
    if not runs or len(runs) > _MOST_RUNS:
        raise node.refuse(
            f"its {places.size} places are in {len(runs)} runs of equal steps; 1 to {_MOST_RUNS} are known"
        )
    flat = places.ndim == 1
    if len(runs) == 1:
        parts = [take(build, x, axis, runs[0], node.output if flat else None)]
    else:
        parts = [take(build, x, axis, run) for run in runs]
        parts = [build.emit("concat", parts, node.output if flat else None, axis=axis)]
    if not flat:
        build.reshape_to(parts[0], [*shape[:axis], *map(int, places.shape), *shape[axis + 1 :]], node.output)


def _runs(places: list[int]) -> list[slice]:
    """Return slices that take ``places`` in their order, each in equal steps forwards."""
    runs: list[slice] = []
    at = 0
    while at < len(places):
        end = at + 1
        step = max(1, places[end] - places[at]) if end < len(places) else 1
        while end < len(places) and places[end] - places[end - 1] == step:
            end += 1
        runs.append(slice(places[at], places[end - 1] + 1, step))
        at = end
    return runs


@handles("Concat")
def concat(node: Node, build: Builder) -> None:
    """Constants among the values are padding that the constants are added to."""
    names = [name for name in node.inputs if build.shape_of_any(name)[node.get("axis", 0)] != 0]
    values = [name for name in names if not build.is_constant(name)]
    rank = len(build.shape(values[0]))
    axis = node.axis(node.get("axis", 0), rank)
    runs = [name in values for name in names]
    first, last = runs.index(True), len(runs) - 1 - runs[::-1].index(True)
    if not all(runs[first : last + 1]):
        raise node.refuse("it has a constant between computed values; only before and after them is it known")
    constant = len(values) < len(names)
    whole = node.output if not constant else None
    joined = build.emit("concat", values, whole, axis=axis) if len(values) > 1 else values[0]
    if not constant:
        if len(values) == 1:
            build.alias(node.output, joined)
        return
    _pad_with(node, build, joined, axis, [names[:first], names[last + 1 :]])


def _pad_with(node: Node, build: Builder, x: str, axis: int, sides: list[list[str]]) -> None:
    arrays = [[build.weights(name, "constant") for name in side] for side in sides]
    rank = len(build.shape(x))
    size = build.shape(x)[axis]
    if not isinstance(size, int):
        raise node.refuse(f"it puts a constant beside a size that is not known ({size})")
    lengths = [sum(array.shape[axis] for array in side) for side in arrays]
    pads = [0] * (2 * rank)
    pads[axis], pads[rank + axis] = lengths
    wide = build.emit("pad", [x], pads=tuple(pads), mode="constant", value=0.0)
    others = np.broadcast_shapes(*(_without(array.shape, axis) for side in arrays for array in side))
    middle = np.zeros((*others[:axis], size, *others[axis:]), np.float32)
    parts = [_to(array, others, axis) for array in (*arrays[0], middle, *arrays[1])]
    build.emit("add", [wide], node.output, {"b": np.concatenate(parts, axis=axis)})


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _to(array: Array, others: tuple[int, ...], axis: int) -> Array:
    return np.broadcast_to(array, (*others[:axis], array.shape[axis], *others[axis:]))


@handles("Pad")
def pad(node: Node, build: Builder) -> None:
    """Pads below 0 are slices."""
    x = node.input(0)
    rank = len(build.shape(x))
    given = build.numbers(node.input(1), "pads") if node.input(1) else list(node.get("pads", []))
    axes = build.numbers(node.input(3), "axes") if node.input(3) else list(range(rank))
    begins, ends = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        at = node.axis(axis, rank)
        begins[at], ends[at] = given[place], given[len(axes) + place]
    value = (
        float(build.weights(node.input(2), "value").reshape(())) if node.input(2) else node.get("value", 0.0)
    )
    for axis in range(rank):
        if min(begins[axis], ends[axis]) < 0:
            x = take(build, x, axis, slice(max(0, -begins[axis]), min(ends[axis], 0) or _END))
    pads = tuple(max(0, size) for size in (*begins, *ends))
    if node.get("mode", "constant") == "wrap":
        _wrapped(node, build, x, pads)
    else:
        build.emit("pad", [x], node.output, pads=pads, mode=node.get("mode", "constant"), value=value)


def _wrapped(node: Node, build: Builder, x: str, pads: tuple[int, ...]) -> None:
    """Put the far end before each axis, and the near one after it."""
    rank = len(pads) // 2
    for axis, (begin, end) in enumerate(zip(pads[:rank], pads[rank:], strict=True)):
        size = build.shape(x)[axis]
        if max(begin, end) and not isinstance(size, int):
            raise node.refuse(f"it wraps a size that is not known ({size})")
        if isinstance(size, int) and max(begin, end) > size:
            raise node.refuse(f"it wraps {begin} and {end} of {size}, more than once around")
        before = [take(build, x, axis, slice(-begin, _END))] if begin else []
        after = [take(build, x, axis, slice(0, end))] if end else []
        if begin or end:
            x = build.emit("concat", [*before, x, *after], axis=axis)
    build.alias(node.output, x)
