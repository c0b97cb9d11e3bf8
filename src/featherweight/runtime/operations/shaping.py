"""Shapes of what moves elements and computes nothing, and of resize."""

from __future__ import annotations

import math
from typing import Any

from featherweight.errors import GraphError
from featherweight.runtime import attributes as kinds
from featherweight.runtime.attributes import (
    MOST_OF_WINDOWS,
    OPTIONAL,
    Attribute,
    Choice,
    Numbers,
    Whole,
    Wholes,
)
from featherweight.runtime.dims import Dim, Shape, Size, product
from featherweight.runtime.operations.schema import Call, define

MOST_SCALE, MOST_BLOCK = 65536, 4096  # native/plan/operation_table.cc
LEAST = -(2**31) + 1  # of a slice's bounds; more than any size stands for "to the end"


@define("concat", inputs=(1, None), attributes={"axis": Attribute(Whole())})
def concat(call: Call) -> Shape:
    """Along the axis sizes add up; the others must agree."""
    axis, first = call.attributes["axis"], call.inputs[0]
    if axis >= len(first) or any(len(shape) != len(first) for shape in call.inputs):
        raise call.refuse(f"inputs of as many dimensions, and of axis {axis}")
    for shape in call.inputs[1:]:
        for place, (a, b) in enumerate(zip(first, shape, strict=True)):
            if place != axis and a != b and isinstance(a, int) and isinstance(b, int):
                raise call.refuse(f"sizes that agree but along axis {axis}")
    along: Size = sum((shape[axis] for shape in call.inputs[1:]), start=first[axis])  # pyright: ignore
    return (*first[:axis], along, *first[axis + 1 :])


@define(
    "slice",
    attributes={
        "starts": Attribute(Wholes(None, LEAST)),
        "ends": Attribute(Wholes(None, LEAST)),
        "axes": Attribute(Wholes()),
        "steps": Attribute(kinds.steps),
    },
)
def slice_(call: Call) -> Shape:
    """As numpy's ``x[start:end:step]`` along each of the axes."""
    shape, parts = list(call.inputs[0]), call.attributes
    if len({len(values) for values in parts.values()}) != 1 or len(set(parts["axes"])) != len(parts["axes"]):
        raise call.refuse("as many starts, ends and steps as axes, each axis once")
    for start, end, axis, step in zip(
        parts["starts"], parts["ends"], parts["axes"], parts["steps"], strict=True
    ):
        if axis >= len(shape):
            raise call.refuse(f"an axis {axis}")
        shape[axis] = sliced(shape[axis], start, end, step)
    return tuple(shape)


def sliced(size: Size, start: int, end: int, step: int) -> Size:
    """Return how many elements ``x[start:end:step]`` has of ``size``."""
    if isinstance(size, int):
        return len(range(*slice(start, end, step).indices(size)))
    if end >= 2**31 - 1 and start >= 0 and step > 0:
        return -((start - size) // step)
    if start >= 0 > end and step == 1:
        return size + end - start
    if start < 0 and end >= 2**31 - 1 and step == 1:
        return -start
    return Dim((f"len({size}[{start}:{end}:{step}])",))


@define(
    "pad",
    attributes={
        "pads": Attribute(Wholes()),
        "mode": Attribute(Choice(("constant", "reflect", "edge")), "constant"),
        "value": Attribute(kinds.number, 0.0),
    },
)
def pad(call: Call) -> Shape:
    """Every axis grows by its two pads."""
    shape, pads = call.inputs[0], call.attributes["pads"]
    if len(pads) != 2 * len(shape):
        raise call.refuse(f"two pads for each axis instead of {list(pads)}")
    begins, ends = pads[: len(shape)], pads[len(shape) :]
    if call.attributes["mode"] == "reflect":
        for size, begin, end in zip(shape, begins, ends, strict=True):
            if isinstance(size, int) and max(begin, end) >= size:
                raise call.refuse(f"pads {list(pads)} smaller than what is reflected")
    return tuple(size + begin + end for size, begin, end in zip(shape, begins, ends, strict=True))


@define(
    "resize",
    attributes={
        "scales": Attribute(Numbers(2, MOST_SCALE), OPTIONAL),
        "sizes": Attribute(Wholes(2, 1), OPTIONAL),
        "mode": Attribute(Choice(("nearest", "linear"))),
        "coordinates": Attribute(
            Choice(("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel")), "half_pixel"
        ),
        "rounding": Attribute(
            Choice(("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")), "round_prefer_floor"
        ),
    },
)
def resize(call: Call) -> Shape:
    """(N, C, H, W) gives (N, C, ...): ``sizes``, or ``floor(size * scale)``."""
    n, c, *sizes = call.rank(4)
    if ("scales" in call.attributes) == ("sizes" in call.attributes):
        raise GraphError(f"{call.where}: expected either scales or sizes.")
    if "sizes" in call.attributes:
        return (n, c, *call.attributes["sizes"])
    return (
        n,
        c,
        *(_scaled(size, scale) for size, scale in zip(sizes, call.attributes["scales"], strict=True)),
    )


def _scaled(size: Size, scale: float) -> Size:
    if isinstance(size, int):
        return math.floor(size * scale)
    return size * int(scale) if scale == int(scale) else Dim((f"floor({size}*{scale!r})",))


@define("reshape", attributes={"shape": Attribute(Wholes(None, -1))})
def reshape(call: Call) -> Shape:
    """0 copies a size, one -1 is inferred."""
    target: tuple[int, ...] = call.attributes["shape"]
    shape = call.inputs[0]
    if target.count(-1) > 1 or any(size == 0 and axis >= len(shape) for axis, size in enumerate(target)):
        raise call.refuse(
            f"a shape that {list(target)} can be made of: one -1 at most, 0 where there is a size"
        )
    sizes: list[Any] = [shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    elements, rest = product(shape), product(size for size in sizes if size != -1)
    if -1 in sizes:
        sizes[sizes.index(-1)] = elements // rest if rest != 0 else 0
    got = product(sizes)
    if isinstance(got, int) and isinstance(elements, int) and got != elements:
        raise call.refuse(f"as many elements as {list(target)} has")
    return tuple(sizes)


@define("transpose", attributes={"permutation": Attribute(Wholes())})
def transpose(call: Call) -> Shape:
    """Axis i of the output is axis ``permutation[i]`` of the input."""
    permutation = call.attributes["permutation"]
    if sorted(permutation) != list(range(len(call.inputs[0]))):
        raise call.refuse(f"as many dimensions as the permutation {list(permutation)} has")
    return tuple(call.inputs[0][axis] for axis in permutation)


@define(
    "depth_to_space",
    attributes={"block": Attribute(Whole(1, MOST_BLOCK)), "mode": Attribute(Choice(("DCR", "CRD")), "DCR")},
)
def depth_to_space(call: Call) -> Shape:
    """(N, C, H, W) gives (N, C / block^2, H block, W block)."""
    n, c, h, w = call.rank(4)
    block = call.attributes["block"]
    if isinstance(c, int) and c % block**2:
        raise call.refuse(f"channels that are a multiple of {block**2}")
    return (n, c // block**2, h * block, w * block)


@define("channel_shuffle", attributes={"groups": Attribute(Whole(1, MOST_OF_WINDOWS))})
def channel_shuffle(call: Call) -> Shape:
    """(N, C, ...), with channels that the groups divide."""
    shape, groups = call.rank(2, least=True), call.attributes["groups"]
    if isinstance(shape[1], int) and shape[1] % groups:
        raise call.refuse(f"channels that are a multiple of {groups}")
    return shape
