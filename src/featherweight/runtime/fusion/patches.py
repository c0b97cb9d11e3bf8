"""Convolutions whose windows are large and side by side: a product of matrices over patches."""

from __future__ import annotations

from featherweight.runtime.fusion.rewrite import Change, View, rewrites
from featherweight.runtime.graph import Operation

LEAST = 8  # pixels of stride from which a product is better: fewer make a convolution in lanes


@rewrites.register("patches into linear")
def patches(view: View, operation: Operation) -> Change | None:
    """(N, C, H, W) as (N, H / p, W / q, C p q), times the weight as (M, C p q), as (N, M, H / p, W / q)."""
    if operation.op != "conv" or len(operation.inputs) != 1:
        return None
    weight, shape = view.constant(operation, "weight"), view.shapes[operation.inputs[0]]
    assert weight is not None
    m, c, p, q = weight.shape
    attributes = operation.attributes
    beside = attributes["strides"] == (p, q) and attributes["dilations"] == (1, 1)
    if not beside or min(p, q) < LEAST or any(attributes["pads"]) or attributes["groups"] != 1:
        return None
    h, w = shape[2:]
    if not isinstance(h, int) or not isinstance(w, int) or h % p or w % q:
        return None
    value = operation.inputs[0]
    made: list[Operation] = []
    for op, more in (
        ("reshape", {"shape": (0, c, h // p, p, w // q, q)}),
        ("transpose", {"permutation": (0, 2, 4, 1, 3, 5)}),
        ("reshape", {"shape": (0, h // p, w // q, c * p * q)}),
    ):
        name = f"{operation.name}.patches.{len(made)}"
        made.append(Operation(op, view.new_operation(name), (value,), (view.new_value(name),), more))
        value = made[-1].output
    flat = view.new_name(f"{operation.name}.weight")
    product = view.new_value(f"{operation.name}.product")
    kept = {key: attributes[key] for key in ("activation", "kernel") if key in attributes}
    roles = {**operation.constants, "weight": flat}
    made.append(Operation("linear", operation.name, (value,), (product,), kept, roles))
    turn = view.new_operation(f"{operation.name}.turn")
    made.append(Operation("transpose", turn, (product,), operation.outputs, {"permutation": (0, 3, 1, 2)}))
    return Change({operation.name: tuple(made)}, {flat: weight.reshape(m, c * p * q)})
