"""Shapes of convolutions and products. Along each axis, with d = dilation (kernel - 1) + 1:

conv: out = (in + pads - d) // stride + 1;  conv_transpose: out = (in - 1) stride - pads + d + output_pad.
"""

from __future__ import annotations

from featherweight.errors import GraphError
from featherweight.runtime.attributes import MOST_OF_WINDOWS, Attribute, Whole, Wholes
from featherweight.runtime.dims import Shape, Size, broadcast
from featherweight.runtime.operations.schema import ACTIVATION, KERNEL, PADS, STEPS, Call, define

_WINDOW = {
    "strides": Attribute(STEPS, (1, 1)),
    "pads": Attribute(PADS, (0, 0, 0, 0)),
    "dilations": Attribute(STEPS, (1, 1)),
    "groups": Attribute(Whole(1, MOST_OF_WINDOWS), 1),
}
_WEIGHTS = {"weight": True, "bias": False}


def window_sizes(call: Call, sizes: Shape, kernel: Shape) -> list[Size]:
    """Return how many windows of ``kernel`` fit along the two axes ``sizes``."""
    strides, pads = call.attributes["strides"], call.attributes["pads"]
    dilations = call.attributes.get("dilations", (1, 1))
    out: list[Size] = []
    for axis in range(2):
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        out.append((sizes[axis] + pads[axis] + pads[axis + 2] - reach) // strides[axis] + 1)
    if any(isinstance(size, int) and size < 1 for size in out):
        raise call.refuse("a picture that a window fits into, padding included")
    return out


@define("conv", inputs=(1, 2), constants=_WEIGHTS, attributes=_WINDOW | ACTIVATION | KERNEL)
def conv(call: Call) -> Shape:
    """(N, C, H, W) and weight (M, C / groups, kernel height, kernel width) give (N, M, ...)."""
    n, c, *sizes = call.rank(4)
    weight, groups = call.constants["weight"], call.attributes["groups"]
    if len(weight) != 4 or c != weight[1] * groups or weight[0] % groups:
        raise call.refuse(f"(N, C, H, W) and weight (M, C / {groups}, height, width)")
    _check_bias(call, weight[0])
    shape = (n, weight[0], *window_sizes(call, tuple(sizes), weight[2:]))
    return _with_residual(call, shape)


@define(
    "conv_transpose",
    constants=_WEIGHTS,
    attributes=_WINDOW | {"output_pads": Attribute(Wholes(2, 0, MOST_OF_WINDOWS), (0, 0))} | ACTIVATION,
)
def conv_transpose(call: Call) -> Shape:
    """(N, C, H, W) and weight (C, M / groups, kernel height, kernel width) give (N, M, ...)."""
    n, c, *sizes = call.rank(4)
    weight, groups = call.constants["weight"], call.attributes["groups"]
    if len(weight) != 4 or c != weight[0] or weight[0] % groups:
        raise call.refuse("(N, C, H, W) and weight (C, M / groups, height, width)")
    channels = weight[1] * groups
    _check_bias(call, channels)
    pads, out = call.attributes["pads"], []
    for axis in range(2):
        reach = call.attributes["dilations"][axis] * (weight[2 + axis] - 1) + 1
        stretched = (sizes[axis] - 1) * call.attributes["strides"][axis]
        out.append(stretched - pads[axis] - pads[axis + 2] + reach + call.attributes["output_pads"][axis])
    if any(isinstance(size, int) and size < 1 for size in out):
        raise call.refuse("a picture that something is left of without the padding")
    return (n, channels, *out)


@define("linear", inputs=(1, 2), constants=_WEIGHTS, attributes=ACTIVATION | KERNEL)
def linear(call: Call) -> Shape:
    """(..., K) and weight (M, K) give (..., M)."""
    shape = call.rank(1, least=True)
    weight = call.constants["weight"]
    if len(weight) != 2 or shape[-1] != weight[1]:
        raise call.refuse("(..., K) and weight (M, K)")
    _check_bias(call, weight[0])
    return _with_residual(call, (*shape[:-1], weight[0]))


@define("matmul", inputs=(2, 2))
def matmul(call: Call) -> Shape:
    """(..., M, K) and (..., K, N) give (..., M, N), as numpy."""
    a, b = call.inputs
    if len(a) < 2 or len(b) < 2 or (a[-1] != b[-2] and isinstance(a[-1], int) and isinstance(b[-2], int)):
        raise call.refuse("(..., M, K) and (..., K, N)")
    return (*broadcast(a[:-2], b[:-2], call.where), a[-2], b[-1])


def _check_bias(call: Call, channels: Size) -> None:
    if "bias" in call.constants and call.constants["bias"] != (channels,):
        raise call.refuse(f"a bias of [{channels}]")


def _with_residual(call: Call, shape: Shape) -> Shape:
    if len(call.inputs) == 2 and not _may_equal(call.inputs[1], shape):
        raise GraphError(
            f"{call.where}: the residual {list(call.inputs[1])} must have the output's shape {list(shape)}."
        )
    return shape


def _may_equal(a: Shape, b: Shape) -> bool:
    known = [(x, y) for x, y in zip(a, b, strict=False) if isinstance(x, int) and isinstance(y, int)]
    return len(a) == len(b) and all(x == y for x, y in known)
