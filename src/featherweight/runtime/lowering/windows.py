"""What convolutions and pooling share: windows of one or two axes, and the padding that ONNX gives a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featherweight.runtime.dims import Shape
from featherweight.runtime.lowering.builder import Builder
from featherweight.runtime.lowering.node import Node


@dataclass(frozen=True)
class Window:
    """Two axes each; ``pads`` is top, left, bottom, right."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]


def window_of(node: Node, sizes: Shape, kernel: Sequence[int]) -> Window:
    """Return the window of a node over a picture of ``sizes``, one axis or two.

    Raises:
        UnsupportedError: more axes, padding below 0, or padding that hangs on sizes that are not known.
    """
    axes = len(sizes)
    if axes not in (1, 2) or len(kernel) != axes:
        raise node.refuse(f"its window has {axes} axes; one and two are known")
    given = {name: node.get(name, None) or [1] * axes for name in ("strides", "dilations")}
    pads = node.get("pads", None) or [0] * (2 * axes)
    if {len(numbers) for numbers in given.values()} != {axes} or len(pads) != 2 * axes:
        raise node.refuse(f"its {given} and pads {list(pads)} are not those of a window of {axes} axes")
    strides, dilations = _pair(given["strides"], 1), _pair(given["dilations"], 1)
    both = _pair(kernel, 1)
    named = node.get("auto_pad", "NOTSET")
    if named in ("SAME_UPPER", "SAME_LOWER"):
        picture = sizes if axes == 2 else (1, *sizes)
        pads = _same(node, picture, Window(both, strides, dilations, (0, 0, 0, 0)), named == "SAME_LOWER")
    elif named == "VALID":
        pads = [0, 0, 0, 0]
    elif axes == 1:
        pads = [0, pads[0], 0, pads[1]]
    top, left, bottom, right = pads
    if min(pads) < 0:
        raise node.refuse(f"its pads {list(pads)} are negative")
    return Window(both, strides, dilations, (top, left, bottom, right))


def _pair(numbers: Sequence[int], height: int) -> tuple[int, int]:
    """Return the numbers of two axes; one axis gets a ``height`` before it."""
    first, second = numbers if len(numbers) == 2 else (height, *numbers)
    return int(first), int(second)


def _same(node: Node, sizes: Shape, window: Window, lower: bool) -> list[int]:
    """Padding so that out = ceil(in / stride); an odd one goes to the end, or the beginning for ``lower``."""
    begins: list[int] = []
    ends: list[int] = []
    for size, kernel, stride, dilation in zip(
        sizes, window.kernel, window.strides, window.dilations, strict=True
    ):
        reach = dilation * (kernel - 1) + 1
        if stride == 1:
            total = reach - 1
        elif isinstance(size, int):
            total = max(0, (-(-size // stride) - 1) * stride + reach - size)
        else:
            raise node.refuse(f"its padding hangs on a size that is not known ({size}) while compiling")
        begins.append(-(-total // 2) if lower else total // 2)
        ends.append(total - begins[-1])
    return [*begins, *ends]


def as_picture(build: Builder, value: str) -> str:
    """Return (N, C, L) as (N, C, 1, L); a picture stays."""
    return build.reshape(value, [0, 0, 1, -1]) if len(build.shape(value)) == 3 else value


def from_picture(build: Builder, value: str, axes: int, output: str) -> None:
    """Give the output its name: what ``as_picture`` made a picture of is (N, C, L) again."""
    if axes == 1:
        build.reshape(value, [0, 0, -1], output)
    else:
        build.alias(output, value)
