"""Reshapes and transposes: two in a row are one, and functions of one number, and sums, go before them."""

from __future__ import annotations

from dataclasses import replace

from featherweight.runtime.dims import Shape
from featherweight.runtime.fusion.rewrite import Change, View, rewrites
from featherweight.runtime.graph import Operation


@rewrites.register("shape after shape")
def shape_after_shape(view: View, operation: Operation) -> Change | None:
    """Two reshapes, or two transposes."""
    if operation.op not in ("reshape", "transpose"):
        return None
    before = view.makers.get(operation.inputs[0])
    if before is None or before.op != operation.op:
        return None
    if operation.op == "transpose":
        inner, outer = before.attributes["permutation"], operation.attributes["permutation"]
        attributes = {"permutation": tuple(inner[axis] for axis in outer)}
    else:
        target = _target(view.shapes[before.inputs[0]], view.shapes[operation.output])
        if target is None:
            return None
        attributes = {"shape": target}
    made = replace(operation, inputs=before.inputs, attributes=attributes)
    return Change({operation.name: (made,), before.name: (before,)})


def _target(shape: Shape, wanted: Shape) -> tuple[int, ...] | None:
    """Return the attribute that reshapes ``shape`` to ``wanted``; None if that cannot be said."""
    target: list[int] = []
    for axis, size in enumerate(wanted):
        if isinstance(size, int):
            target.append(size)
        else:
            target.append(0 if axis < len(shape) and shape[axis] == size else -1)
    return tuple(target) if target.count(-1) <= 1 else None


@rewrites.register("function before shape")
def function_before_shape(view: View, operation: Operation) -> Change | None:
    """So that what made the value can end with the function."""
    if operation.op != "unary":
        return None
    shape = view.sole(operation.inputs[0], "reshape", "transpose")
    if shape is None:
        return None
    first = replace(operation, inputs=shape.inputs, outputs=shape.outputs)
    second = replace(shape, inputs=shape.outputs, outputs=operation.outputs)
    return Change({shape.name: (first,), operation.name: (second,)})


@rewrites.register("sum before shape")
def sum_before_shape(view: View, operation: Operation) -> Change | None:
    """The sum of two reshaped values is that of the values: so residuals of 1-D convolutions find them."""
    if operation.op != "add" or len(operation.inputs) != 2:
        return None
    makers = [view.makers.get(value) for value in operation.inputs]
    if not all(maker is not None and maker.op == "reshape" for maker in makers):
        return None
    reshapes = [maker for maker in makers if maker is not None]
    sources = tuple(maker.inputs[0] for maker in reshapes)
    shapes = {view.shapes[value] for value in (*operation.inputs, operation.output)}
    if view.shapes[sources[0]] != view.shapes[sources[1]] or len(shapes) != 1:
        return None
    total = view.new_value(f"{operation.output}.sum")
    first = replace(operation, inputs=sources, outputs=(total,))
    name = view.new_operation(f"{operation.name}.reshape")
    second = replace(reshapes[0], name=name, inputs=(total,), outputs=operation.outputs)
    return Change({operation.name: (first, second)})
