"""Norms: scale, shift and statistics belong to the channels.

Batch and instance norm treat each channel by itself. Layer, group and RMS norm take statistics over
channels: where those are cut, the statistics run over what is left.
"""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, rule

_PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")


@rule(
    "batch_norm.default",
    "instance_norm.default",
    "native_batch_norm.default",
    "_native_batch_norm_legit.default",
)
def per_channel(flow: Flow) -> list[Axes]:
    """``(n, c, ...)``: everything else of the norm is ``(c)``."""
    axes = flow.axes("input")
    for name in _PER_CHANNEL:
        if flow.has(name):
            flow.unite(axes[1], flow.axes(name)[0])
    over_batch = [0] if "batch" in flow.call.op else []
    flow.reduce(flow["input"], [*over_batch, *range(2, len(axes))])
    return [axes, *([[axes[1]], [axes[1]]] if len(flow.call.outputs) == 3 else [])]


@rule("layer_norm.default", "rms_norm.default")
def last_dimensions(flow: Flow) -> list[Axes]:
    """The statistics run over the last dimensions, which weight and bias have."""
    axes = flow.axes("input")
    count = len(flow["normalized_shape"])
    for name in ("weight", "bias"):
        if flow.has(name):
            for mine, theirs in zip(axes[-count:], flow.axes(name), strict=True):
                flow.unite(mine, theirs)
    flow.reduce(flow["input"], range(len(axes) - count, len(axes)))
    return [axes]


@rule("group_norm.default")
def groups(flow: Flow) -> list[Axes]:
    """``(n, groups x channels of a group, ...)``; statistics over the channels of a group."""
    axes = flow.axes("input")
    count = flow["num_groups"]
    flow.units.split(axes[1], [count, len(axes[1]) // count])
    for name in ("weight", "bias"):
        if flow.has(name):
            flow.unite(axes[1], flow.axes(name)[0])
    flow.reduce(flow["input"], range(1, len(axes)))
    return [axes]


@rule("_weight_norm.default", "_weight_norm_interface.default")
def weight_norm(flow: Flow) -> list[Axes]:
    """``g v / |v|``, the norm over all dimensions but ``dim``; the interface returns the norms too."""
    direction, scale, dim = flow.axes("v"), flow.axes("g"), flow["dim"]
    flow.unite(direction[dim], scale[dim])
    flow.reduce(flow["v"], range(len(direction)))  # also where a whole vector goes: its norm would be 0
    return [direction, *([scale] if len(flow.call.outputs) == 2 else [])]


@rule("local_response_norm.default")
def neighbours(flow: Flow) -> list[Axes]:
    """Neighbouring channels count: none may go."""
    axes = flow.axes("input")
    flow.freeze([axes[1]], "statistics over neighbouring channels")
    return [axes]
