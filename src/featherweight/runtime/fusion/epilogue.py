"""A function of one number after an operation that can end with one."""

from __future__ import annotations

from dataclasses import replace

from featherweight.runtime.fusion.rewrite import Change, View, rewrites
from featherweight.runtime.graph import Operation

_TAKE = ("conv", "conv_transpose", "linear", "add", "sub", "mul", "div", "affine")


@rewrites.register("function into epilogue")
def into_epilogue(view: View, operation: Operation) -> Change | None:
    """Where that operation has none yet and nothing else reads what it makes."""
    if operation.op != "unary":
        return None
    before = view.sole(operation.inputs[0], *_TAKE)
    if before is None or "activation" in before.attributes:
        return None
    attributes = {**before.attributes, "activation": operation.attributes["activation"]}
    made = replace(before, outputs=operation.outputs, attributes=attributes)
    return Change({before.name: (made,), operation.name: ()})
