"""Sums and products with constants, into the weights before them.

W x + b, times s, plus t is (s W) x + (s b + t): with a number of s and t for each output.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from featherweight.runtime.dims import Shape
from featherweight.runtime.fusion.rewrite import Array, Change, View, rewrites
from featherweight.runtime.graph import Operation

_BINARY = ("add", "sub", "mul", "div")


def _scale_shift(view: View, operation: Operation) -> tuple[Array, Array] | None:
    """Return s and t of the shape of the constant, for an operation that is s x + t; None if it is not."""
    b = view.constant(operation, "b")
    if b is None or operation.op not in _BINARY:
        return None
    b = b.astype(np.float64)
    one, zero = np.ones_like(b), np.zeros_like(b)
    swapped = operation.attributes["swapped"]
    if operation.op == "div":
        return None if swapped or not b.all() else (1 / b, zero)
    scale, shift = {"add": (one, b), "sub": (-one, b) if swapped else (one, -b), "mul": (b, zero)}[
        operation.op
    ]
    return scale, shift


def _along(array: Array, shape: Shape, axis: int) -> Array | None:
    """Return a constant as one number for each place of ``axis``; None where it differs along others."""
    size = shape[axis]
    if not isinstance(size, int) or array.ndim > len(shape):
        return None
    full = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    if any(length != 1 for place, length in enumerate(full.shape) if place != axis):
        return None
    return np.broadcast_to(full.reshape(-1), (size,))


@rewrites.register("constant to affine")
def to_affine(view: View, operation: Operation) -> Change | None:
    """A constant that is one number for each channel of a picture, or of (N, C)."""
    found = _scale_shift(view, operation)
    if found is None:
        return None
    shape = view.shapes[operation.output]
    before = view.shapes[operation.inputs[0]]
    if before != shape or len(shape) not in (2, 4):
        return None
    makers = ("conv", "conv_transpose", "linear", "affine")
    if (len(shape) == 2 or found[0].size == 1) and view.sole(operation.inputs[0], *makers) is None:
        return None  # one number for all, or a product of rows: nothing that it could go into
    scale, shift = (_along(array, shape, 1) for array in found)
    return None if scale is None or shift is None else _affine(view, operation, scale, shift)


def _affine(view: View, operation: Operation, scale: Array, shift: Array) -> Change:
    names = {role: view.new_name(f"{operation.name}.{role}") for role in ("scale", "shift")}
    kept = {name: value for name, value in operation.attributes.items() if name == "activation"}
    made = Operation("affine", operation.name, operation.inputs, operation.outputs, kept, names)
    return Change({operation.name: (made,)}, {names["scale"]: _float(scale), names["shift"]: _float(shift)})


@rewrites.register("affine into weights")
def into_weights(view: View, operation: Operation) -> Change | None:
    """An affine after a convolution, a product of (N, K), or another affine."""
    if operation.op != "affine":
        return None
    before = view.sole(operation.inputs[0], "conv", "conv_transpose", "linear", "affine")
    scale, shift = view.constant(operation, "scale"), view.constant(operation, "shift")
    if before is None or scale is None or shift is None or not _is_bare(before):
        return None
    if before.op == "linear" and len(view.shapes[before.output]) != 2:
        return None
    return _scaled(view, before, operation, scale, shift)


@rewrites.register("constant into linear")
def into_linear(view: View, operation: Operation) -> Change | None:
    """A constant that is one number for each output of a product of (..., K)."""
    found = _scale_shift(view, operation)
    if found is None:
        return None
    before = view.sole(operation.inputs[0], "linear")
    shape = view.shapes[operation.output]
    if before is None or not _is_bare(before) or view.shapes[before.output] != shape:
        return None
    scale, shift = (_along(array, shape, len(shape) - 1) for array in found)
    if scale is None or shift is None:
        return None
    return _scaled(view, before, operation, scale, shift)


def _is_bare(operation: Operation) -> bool:
    """Whether nothing comes after the sums."""
    return "activation" not in operation.attributes and len(operation.inputs) == 1


def _scaled(view: View, before: Operation, after: Operation, scale: Array, shift: Array) -> Change:
    """Let ``before`` do what ``after`` does."""
    weight_role, bias_role = ("scale", "shift") if before.op == "affine" else ("weight", "bias")
    weight, bias = view.constant(before, weight_role), view.constant(before, bias_role)
    assert weight is not None
    scale64 = scale.astype(np.float64)
    old = 0.0 if bias is None else bias.astype(np.float64)
    arrays = {weight_role: _times(before, weight, scale64), bias_role: old * scale64 + shift}
    names = {role: view.new_name(f"{before.name}.{role}") for role in arrays}
    attributes = {**before.attributes, **_activation(after)}
    made = replace(before, outputs=after.outputs, attributes=attributes, constants=names)
    return Change(
        {before.name: (made,), after.name: ()}, {names[role]: _float(array) for role, array in arrays.items()}
    )


def _times(before: Operation, weight: Array, scale: Array) -> Array:
    """Return the weight with each output scaled; of a transposed convolution these are its second axis."""
    if before.op != "conv_transpose":
        return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    groups = before.attributes["groups"]
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    return (grouped * scale.reshape(groups, 1, -1, 1, 1)).reshape(weight.shape)


@rewrites.register("constant before linear")
def before_linear(view: View, operation: Operation) -> Change | None:
    """A constant that is one number for each input of a product, as after a layer norm.

    W (s x + t) + b is (W s) x + (W t + b).
    """
    before = view.sole(operation.inputs[0], *_BINARY) if operation.op == "linear" else None
    if before is None or "activation" in before.attributes or len(before.inputs) != 1:
        return None
    found, shape = _scale_shift(view, before), view.shapes[before.output]
    if found is None or view.shapes[before.inputs[0]] != shape or before.output in operation.inputs[1:]:
        return None
    scale, shift = (_along(array, shape, len(shape) - 1) for array in found)
    weight, bias = view.constant(operation, "weight"), view.constant(operation, "bias")
    if scale is None or shift is None or weight is None:
        return None
    wide = weight.astype(np.float64)
    arrays = {"weight": wide * scale, "bias": wide @ shift + (0 if bias is None else bias)}
    names = {role: view.new_name(f"{operation.name}.{role}") for role in arrays}
    made = replace(operation, inputs=(before.inputs[0], *operation.inputs[1:]), constants=names)
    return Change(
        {before.name: (), operation.name: (made,)},
        {names[role]: _float(array) for role, array in arrays.items()},
    )


@rewrites.register("affine before convolution")
def before_convolution(view: View, operation: Operation) -> Change | None:
    """A scale of the input's channels; a shift only without padding, which would be shifted too."""
    if operation.op != "conv":
        return None
    before = view.sole(operation.inputs[0], "affine")
    if before is None or "activation" in before.attributes:
        return None
    scale, shift = view.constant(before, "scale"), view.constant(before, "shift")
    weight, bias = view.constant(operation, "weight"), view.constant(operation, "bias")
    assert scale is not None
    assert shift is not None
    assert weight is not None
    if shift.any() and any(operation.attributes["pads"]):
        return None
    groups, outputs = operation.attributes["groups"], weight.shape[0]
    by_group = weight.reshape(groups, outputs // groups, *weight.shape[1:]).astype(np.float64)
    scaled = (by_group * scale.reshape(groups, 1, -1, 1, 1)).reshape(weight.shape)
    added = np.einsum("gmchw,gc->gm", by_group, shift.reshape(groups, -1)).reshape(-1)
    arrays = {"weight": scaled, "bias": added + (0 if bias is None else bias)}
    names = {role: view.new_name(f"{operation.name}.{role}") for role in arrays}
    made = replace(operation, inputs=(before.inputs[0], *operation.inputs[1:]), constants=names)
    return Change(
        {before.name: (), operation.name: (made,)},
        {names[role]: _float(array) for role, array in arrays.items()},
    )


def _activation(operation: Operation) -> dict[str, object]:
    return {name: value for name, value in operation.attributes.items() if name == "activation"}


def _float(array: Array) -> Array:
    """Return a constant as float32, with +0 for -0: it is no nonzero."""
    return np.ascontiguousarray(array, dtype=np.float32) + np.float32(0)
