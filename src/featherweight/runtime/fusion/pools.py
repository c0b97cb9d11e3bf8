"""Means over a whole picture."""

from __future__ import annotations

from featherweight.runtime.fusion.rewrite import Change, View, rewrites
from featherweight.runtime.graph import Operation


@rewrites.register("global pool")
def global_pool(view: View, operation: Operation) -> Change | None:
    """A mean over both axes of a picture, or a window as large as it, is a global average."""
    shape = view.shapes[operation.inputs[0]] if operation.inputs else ()
    if len(shape) != 4:
        return None
    if operation.op == "reduce_mean" and sorted(operation.attributes["axes"]) == [2, 3]:
        return _pooled(view, operation, keep=operation.attributes["keep"])
    if operation.op == "average_pool" and operation.attributes["kernel"] == shape[2:]:
        if any(operation.attributes["pads"]):
            return None
        return _pooled(view, operation, keep=True)
    return None


def _pooled(view: View, operation: Operation, keep: bool) -> Change:
    if keep:
        pool = Operation("global_average_pool", operation.name, operation.inputs, operation.outputs)
        return Change({operation.name: (pool,)})
    picture = view.new_value(f"{operation.output}.picture")
    pool = Operation("global_average_pool", operation.name, operation.inputs, (picture,))
    name = view.new_operation(f"{operation.name}.reshape")
    flat = Operation("reshape", name, (picture,), operation.outputs, {"shape": (0, 0)})
    return Change({operation.name: (pool, flat)})
