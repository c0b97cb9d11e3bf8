"""A sum of two values, into the later of the two operations that made them."""

from __future__ import annotations

from dataclasses import replace

from featherweight.runtime.fusion.rewrite import Change, View, rewrites
from featherweight.runtime.graph import Operation


@rewrites.register("residual")
def residual(view: View, operation: Operation) -> Change | None:
    """The convolution or product then stands in the place of the sum, where both values are there."""
    if operation.op != "add" or len(operation.inputs) != 2 or operation.inputs[0] == operation.inputs[1]:
        return None
    shape = view.shapes[operation.output]
    found: list[tuple[int, Operation, str]] = []
    for value, other in (operation.inputs, operation.inputs[::-1]):
        maker = view.sole(value, "conv", "linear")
        if maker is None or len(maker.inputs) != 1 or "activation" in maker.attributes:
            continue
        if view.shapes[value] == shape == view.shapes[other]:
            found.append((view.order[maker.name], maker, other))
    if not found:
        return None
    _, maker, other = max(found, key=lambda item: item[0])
    attributes = dict(maker.attributes)
    if "activation" in operation.attributes:
        attributes["activation"] = operation.attributes["activation"]
    made = replace(maker, inputs=(*maker.inputs, other), outputs=operation.outputs, attributes=attributes)
    return Change({maker.name: (), operation.name: (made,)})
