"""Convolutions: ``(n, c, *spatial) -> (n, o, *spatial)``, weight ``(o, c / groups, *kernel)``.

With groups, channels are groups x channels of a group, and are cut alike in every group.
"""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, never_cut, rule
from featherweight.structured.units import Axis


@rule(
    "conv1d.default", "conv2d.default", "conv3d.default",
    "conv1d.padding", "conv2d.padding", "conv3d.padding",
)  # fmt: skip
def convolution(flow: Flow) -> list[Axes]:
    """Join the channels of input and weight; the outputs are the weight's first dimension."""
    channels, weight = _operands(flow)
    groups = flow["groups"]
    if groups == 1:
        flow.unite(channels, weight[1])
    else:
        group_in, inside = flow.units.split(channels, [groups, len(channels) // groups])
        group_out, _ = flow.units.split(weight[0], [groups, len(weight[0]) // groups])
        flow.unite(group_in, group_out)
        flow.unite(inside, weight[1])
    return [_output(flow, weight[0])]


@rule("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
def transposed(flow: Flow) -> list[Axes]:
    """As above, with a weight of ``(c, o / groups, *kernel)``."""
    channels, weight = _operands(flow)
    groups = flow["groups"]
    flow.unite(channels, weight[0])
    if groups == 1:
        return [_output(flow, weight[1])]
    group, _ = flow.units.split(channels, [groups, len(channels) // groups])
    return [_output(flow, flow.units.merge([group, weight[1]]))]


def _operands(flow: Flow) -> tuple[Axis, Axes]:
    """Return the axis of the channels, and the axes of the weight."""
    weight = flow.axes("weight")
    spatial = len(weight) - 2
    image = flow.axes("input")
    flow.freeze(weight[2:], "size of the kernel")
    flow.freeze(image[-spatial:], "position in the image")
    return image[-spatial - 1], weight


def _output(flow: Flow, outputs: Axis) -> Axes:
    spatial = len(flow.axes("weight")) - 2
    if flow.has("bias"):
        flow.unite(outputs, flow.axes("bias")[0])
    before = flow.axes("input")[: -spatial - 1]
    return [*before, outputs, *never_cut(flow.shape()[-spatial:])]
