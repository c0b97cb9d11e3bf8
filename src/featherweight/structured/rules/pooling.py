"""Pooling and resampling: channels go through, positions are never cut."""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, never_cut, rule

_POOLS = (
    "max_pool{n}d.default", "avg_pool{n}d.default", "adaptive_avg_pool{n}d.default",
    "adaptive_max_pool{n}d.default",
)  # fmt: skip
_RESAMPLINGS = (
    "nearest1d.vec", "nearest2d.vec", "nearest3d.vec", "linear1d.vec", "bilinear2d.vec", "bicubic2d.vec",
    "trilinear3d.vec", "nearest1d.default", "nearest2d.default", "bilinear2d.default", "bicubic2d.default",
)  # fmt: skip
_OTHERS = (
    "max_pool2d_with_indices.default", "max_pool3d_with_indices.default",
    "_upsample_bilinear2d_aa.vec", "_upsample_bicubic2d_aa.vec", "_upsample_nearest_exact1d.vec",
    "_upsample_nearest_exact2d.vec", "_upsample_nearest_exact3d.vec",
)  # fmt: skip


@rule(
    *(name.format(n=n) for n in (1, 2, 3) for name in _POOLS),
    *(f"upsample_{name}" for name in _RESAMPLINGS),
    *_OTHERS,
)
def over_positions(flow: Flow) -> list[Axes]:
    """``(..., c, *spatial) -> (..., c, *spatial)``."""
    axes = flow.all_axes()[0]
    name = flow.call.op.split(".")[1]
    spatial = next(int(n) for n in "123" if f"{n}d" in name)
    flow.freeze(axes[-spatial:], "position in the image")
    return [[*axes[:-spatial], *never_cut(flow.shape()[-spatial:])] for _ in flow.call.outputs]


@rule("grid_sampler.default", "grid_sampler_2d.default")
def sampled(flow: Flow) -> list[Axes]:
    """``(n, c, h, w)`` at places ``(n, h', w', 2)``."""
    batch, channels, *spatial = flow.axes("input")
    flow.freeze([*spatial, *flow.axes("grid")[1:]], "position in the image")
    return [[batch, channels, *never_cut(flow.shape()[2:])]]


@rule("max_unpool2d.default")
def unpooled(flow: Flow) -> list[Axes]:
    """``(..., c, h, w)`` put back to where the indices say."""
    axes, places = flow.axes("self"), flow.axes("indices")
    flow.freeze([*axes[-2:], *places[-2:]], "position in the image")
    for mine, theirs in zip(axes[:-2], places[:-2], strict=True):
        flow.unite(mine, theirs)
    return [[*axes[:-2], *never_cut(flow.shape()[-2:])]]
