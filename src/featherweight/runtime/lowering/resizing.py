"""Resize, and Upsample of older opsets."""

from __future__ import annotations

from typing import Any

from featherweight.runtime.dims import Shape
from featherweight.runtime.lowering.builder import Builder
from featherweight.runtime.lowering.node import Node, handles
from featherweight.runtime.lowering.windows import as_picture, from_picture


@handles("Resize")
def resize(node: Node, build: Builder) -> None:
    """Of the last one or two axes, nearest or linear."""
    old = len(node.inputs) == 2  # opset 10 has x and scales only, and no settings
    mode = {
        "mode": node.get("mode", "nearest"),
        "coordinates": "asymmetric" if old else node.get("coordinate_transformation_mode", "half_pixel"),
        "rounding": "floor" if old else node.get("nearest_mode", "round_prefer_floor"),
    }
    if node.get("antialias", 0) or node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.refuse("antialias and keep_aspect_ratio_policy are not known")
    scales, sizes = (node.input(1), "") if old else (node.input(2), node.input(3))
    _resize(node, build, scales, sizes, mode)


@handles("Upsample")
def upsample(node: Node, build: Builder) -> None:
    """Opset 9 and before."""
    mode = {"mode": node.get("mode", "nearest"), "coordinates": "asymmetric", "rounding": "floor"}
    if "scales" in node.attributes:
        raise node.refuse("its scales are an attribute, as before opset 9. Export it again")
    _resize(node, build, node.input(1), "", mode)


def _resize(node: Node, build: Builder, scales: str, sizes: str, mode: dict[str, Any]) -> None:
    x = node.input(0)
    shape = build.shape(x)
    axes = len(shape) - 2
    if axes not in (1, 2):
        raise node.refuse(f"it resizes {len(shape)} dimensions; (N, C, L) and (N, C, H, W) are known")
    known = build.known(sizes) if sizes else None
    if known is not None and known.size:
        target: dict[str, Any] = _from_sizes(node, shape, list(known), mode)
    else:
        factors = [float(scale) for scale in build.weights(scales, "scales")]
        target = {"scales": tuple(_whole(node, shape, factors, 1.0))}
    if mode["coordinates"] == "half_pixel_symmetric":
        mode = mode | {"coordinates": _half_pixel(node, shape, target)}
    lift = (1,) * (2 - axes)
    target = {name: (*lift, *values) for name, values in target.items()}
    made = build.emit("resize", [as_picture(build, x)], node.output if axes == 2 else None, **target, **mode)
    from_picture(build, made, axes, node.output)


def _half_pixel(node: Node, shape: Shape, target: dict[str, Any]) -> str:
    """Half pixels are symmetric where the picture is a whole number of pixels anyway."""
    for size, scale in zip(shape[2:], target.get("scales", ()), strict=False):
        if scale != int(scale) and not (isinstance(size, int) and size * scale == int(size * scale)):
            raise node.refuse(f"it cuts {size} times {scale} to whole pixels and shifts the rest by half")
    return "half_pixel"


def _from_sizes(node: Node, shape: Shape, given: list[Any], mode: dict[str, Any]) -> dict[str, Any]:
    """Return the sizes, or the scales where sizes are multiples of what is not known."""
    target = _whole(node, shape, given, None)
    if all(not hasattr(size, "symbols") for size in target):
        return {"sizes": tuple(int(size) for size in target)}
    factors = [size // old for size, old in zip(target, shape[2:], strict=True)]
    if not all(isinstance(factor, int) for factor in factors):
        raise node.refuse(
            f"it resizes {list(shape[2:])} to {target}; the factor is not known while compiling"
        )
    return {"scales": tuple(float(factor) for factor in factors)}


def _whole(node: Node, shape: Shape, given: list[Any], same: Any) -> list[Any]:
    """Return what is given for the last axes, by the attribute ``axes`` or for all; N and C must stay."""
    rank = len(shape)
    places = [node.axis(axis, rank) for axis in node.get("axes", None) or range(rank)]
    full = list(shape) if same is None else [same] * rank
    for axis, value in zip(places, given, strict=True):
        full[axis] = value
    for axis in range(2):
        if full[axis] != (shape[axis] if same is None else same):
            raise node.refuse("it resizes batch or channels; only the picture can be")
    return full[2:]
