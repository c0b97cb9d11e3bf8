"""Shapes of pooling. With ``ceil``, windows that would begin in the padding at the far edge are left out."""

from __future__ import annotations

from featherweight.runtime.attributes import Attribute, flag
from featherweight.runtime.dims import Shape, Size, ceil_div
from featherweight.runtime.operations.convolution import window_sizes
from featherweight.runtime.operations.schema import PADS, STEPS, Call, define

_POOL = {
    "kernel": Attribute(STEPS),
    "strides": Attribute(STEPS, (1, 1)),
    "pads": Attribute(PADS, (0, 0, 0, 0)),
    "ceil": Attribute(flag, False),
}


@define("max_pool", attributes=_POOL | {"dilations": Attribute(STEPS, (1, 1))})
@define("average_pool", attributes=_POOL | {"count_pads": Attribute(flag, False)})
def pool(call: Call) -> Shape:
    """(N, C, H, W) gives (N, C, ...)."""
    n, c, *sizes = call.rank(4)
    kernel, pads = call.attributes["kernel"], call.attributes["pads"]
    if any(pad and pad >= size for pad, size in zip(pads, (*kernel, *kernel), strict=True)):
        raise call.refuse(f"pads {list(pads)} smaller than the kernel {list(kernel)}")
    if call.attributes["ceil"]:
        return (n, c, *(_ceiled(call, axis, size) for axis, size in enumerate(sizes)))
    return (n, c, *window_sizes(call, tuple(sizes), kernel))


def _ceiled(call: Call, axis: int, size: Size) -> Size:
    kernel, stride = call.attributes["kernel"][axis], call.attributes["strides"][axis]
    begin, end = call.attributes["pads"][axis], call.attributes["pads"][axis + 2]
    reach = call.attributes.get("dilations", (1, 1))[axis] * (kernel - 1) + 1
    windows = ceil_div(size + begin + end - reach, stride) + 1
    if isinstance(size, int) and isinstance(windows, int):
        if size + begin + end < reach:
            raise call.refuse("a picture that a window fits into, padding included")
        return windows - ((windows - 1) * stride >= size + begin)
    return windows


@define("global_average_pool")
@define("global_max_pool")
def global_pool(call: Call) -> Shape:
    """(N, C, H, W) gives (N, C, 1, 1)."""
    return (*call.rank(4)[:2], 1, 1)
