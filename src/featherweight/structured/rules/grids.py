"""Grids: tensors laid out over each other's dimensions."""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, never_cut, rule
from featherweight.structured.rules.pointwise import broadcast
from featherweight.structured.units import fixed


@rule("meshgrid.default", "meshgrid.indexing")
def meshgrid(flow: Flow) -> list[Axes]:
    """``(n), (m), ... -> (n, m, ...)`` each; with "xy" the first two dimensions change places."""
    axes = [axis[0] if axis else fixed(1) for axis in flow.all_axes("tensors")]
    if flow.call.arguments.get("indexing") == "xy":
        axes[:2] = axes[1::-1]
    return [list(axes) for _ in flow.call.outputs]


@rule("broadcast_tensors.default")
def broadcast_tensors(flow: Flow) -> list[Axes]:
    """All to the sizes that they have together."""
    axes = broadcast(flow, flow.all_axes("tensors"), flow.shape())
    return [list(axes) for _ in flow.call.outputs]


@rule("affine_grid_generator.default")
def affine_grid(flow: Flow) -> list[Axes]:
    """``(n, 2, 3) -> (n, h, w, 2)``: places in an image."""
    batch, *matrix = flow.axes("theta")
    flow.freeze(matrix, "position in the image")
    return [[batch, *never_cut(flow.shape()[1:])]]
