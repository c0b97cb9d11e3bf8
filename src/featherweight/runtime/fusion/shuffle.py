"""Shuffles of channels: ShuffleNet's, written as reshapes around a transposition."""

from __future__ import annotations

from featherweight.runtime.fusion.rewrite import Change, View, rewrites
from featherweight.runtime.graph import Operation


@rewrites.register("channel shuffle")
def channel_shuffle(view: View, operation: Operation) -> Change | None:
    """(N, C, ...) seen as (N, groups, C / groups, ...), those two axes swapped, and seen as before."""
    if operation.op != "reshape":
        return None
    swap = view.sole(operation.inputs[0], "transpose")
    cut = view.sole(swap.inputs[0], "reshape") if swap is not None else None
    if swap is None or cut is None:
        return None
    whole, apart = view.shapes[cut.inputs[0]], view.shapes[cut.output]
    groups = apart[1] if len(apart) == len(whole) + 1 else None
    same = len(whole) >= 2 and view.shapes[operation.output] == whole and apart[0] == whole[0]
    if not same or not isinstance(groups, int) or groups < 1 or apart[3:] != whole[2:]:
        return None
    if swap.attributes["permutation"] != (0, 2, 1, *range(3, len(apart))):
        return None
    made = Operation("channel_shuffle", operation.name, cut.inputs, operation.outputs, {"groups": groups})
    return Change({cut.name: (), swap.name: (), operation.name: (made,)})
