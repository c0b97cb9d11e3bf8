"""Padding with zeros, into the convolution or the average that follows."""

from __future__ import annotations

from dataclasses import replace

from featherweight.runtime.fusion.rewrite import Change, View, rewrites
from featherweight.runtime.graph import Operation


@rewrites.register("pad into window")
def into_window(view: View, operation: Operation) -> Change | None:
    """Of the picture's two axes only."""
    if operation.op not in ("conv", "average_pool"):
        return None
    pad = view.sole(operation.inputs[0], "pad")
    if pad is None or pad.attributes["mode"] != "constant" or pad.attributes["value"] != 0:
        return None
    begins, ends = pad.attributes["pads"][:4], pad.attributes["pads"][4:]
    if any((*begins[:2], *ends[:2])):
        return None
    own = operation.attributes["pads"]
    pads = tuple(a + b for a, b in zip(own, (*begins[2:], *ends[2:]), strict=True))
    attributes = {**operation.attributes, "pads": pads}
    if operation.op == "average_pool":
        if (any(own) and not operation.attributes["count_pads"]) or operation.attributes["ceil"]:
            return None  # some of the padding counts, some does not
        kernel = operation.attributes["kernel"]
        if any(pad and pad >= size for pad, size in zip(pads, (*kernel, *kernel), strict=True)):
            return None
        attributes["count_pads"] = True
    made = replace(operation, inputs=(pad.inputs[0], *operation.inputs[1:]), attributes=attributes)
    return Change({pad.name: (), operation.name: (made,)})
