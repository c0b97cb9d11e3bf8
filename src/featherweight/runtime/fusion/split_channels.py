"""Channels seen as several groups of channels: what is done with the groups is done without that view.

ResNeSt weighs groups by each other and adds them up. Maps of convolutions need no other layout for that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from featherweight.runtime.fusion.rewrite import Change, View, rewrites
from featherweight.runtime.graph import Operation

_MOST_GROUPS = 8


def _groups(view: View, value: str) -> tuple[Operation, int] | None:
    """Return what saw (N, C, H, W) as ``value``, (N, groups, C / groups, H, W), and the groups."""
    cut = view.makers.get(value)
    if cut is None or cut.op != "reshape":
        return None
    whole, apart = view.shapes[cut.inputs[0]], view.shapes[value]
    groups = apart[1] if len(whole) == 4 and len(apart) == 5 else None
    same = isinstance(groups, int) and apart[0] == whole[0] and apart[3:] == whole[2:]
    return (cut, groups) if same and isinstance(groups, int) and isinstance(whole[1], int) else None


@rewrites.register("product of split channels")
def product(view: View, operation: Operation) -> Change | None:
    """A number for each channel of each image is multiplied before the channels are split."""
    if operation.op != "mul" or len(operation.inputs) != 2:
        return None
    for place in (0, 1):
        found = _groups(view, operation.inputs[place])
        numbers = operation.inputs[1 - place]
        apart = view.shapes[operation.output]
        if found is None or view.shapes[operation.inputs[place]] != apart:
            continue
        if view.shapes[numbers] != (*apart[:3], 1, 1):
            continue
        cut, _ = found
        flat, made = view.new_value(f"{numbers}.flat"), view.new_value(f"{operation.output}.whole")
        channels = view.shapes[cut.inputs[0]][1]
        flatten = Operation(
            "reshape",
            view.new_operation(f"{operation.name}.flat"),
            (numbers,),
            (flat,),
            {"shape": (0, channels, 1, 1)},
        )
        times = replace(operation, inputs=(cut.inputs[0], flat), outputs=(made,))
        again = replace(
            cut, name=view.new_operation(f"{operation.name}.cut"), inputs=(made,), outputs=operation.outputs
        )
        return Change({operation.name: (flatten, times, again)})
    return None


@rewrites.register("mean of split channels")
def mean(view: View, operation: Operation) -> Change | None:
    """The mean over few groups is their sum and a share; a sum, written as a mean times groups, is that."""
    if operation.op != "reduce_mean" or operation.attributes["axes"] != (1,) or operation.attributes["keep"]:
        return None
    found = _groups(view, operation.inputs[0])
    if found is None or not 2 <= found[1] <= _MOST_GROUPS:
        return None
    whole, groups = found[0].inputs[0], found[1]
    times = _times(view, operation.output, groups)
    if times is not None:
        return Change({operation.name: (), times.name: _sum(view, times, whole, groups)})
    total = view.new_value(f"{operation.output}.sum")
    share = view.new_name(f"{operation.name}.share")
    added = _sum(view, replace(operation, outputs=(total,)), whole, groups)
    name = view.new_operation(f"{operation.name}.share")
    shared = Operation("mul", name, (total,), operation.outputs, {"swapped": False}, {"b": share})
    return Change({operation.name: (*added, shared)}, {share: np.asarray(1 / groups, np.float32)})


def _times(view: View, value: str, number: int) -> Operation | None:
    """Return what multiplies ``value`` by ``number``, if nothing else reads it."""
    readers = view.readers[value]
    if view.is_output(value) or len(readers) != 1 or readers[0].op != "mul":
        return None
    factor = view.constant(readers[0], "b")
    alone = factor is not None and factor.size == 1 and factor.ndim <= 4 and bool((factor == number).all())
    return readers[0] if alone and "activation" not in readers[0].attributes else None


def _sum(view: View, operation: Operation, whole: str, groups: int) -> tuple[Operation, ...]:
    """Return what adds up groups of the channels of ``whole``, in the place of ``operation``."""
    channels, made = view.shapes[whole][1], list[Operation]()
    assert isinstance(channels, int)
    parts = [view.new_value(f"{operation.output}.group{group}") for group in range(groups)]
    for group, part in enumerate(parts):
        first = group * channels // groups
        bounds = {"starts": (first,), "ends": (first + channels // groups,), "axes": (1,), "steps": (1,)}
        name = view.new_operation(f"{operation.name}.group{group}")
        made.append(Operation("slice", name, (whole,), (part,), bounds))
    total = parts[0]
    for group, part in enumerate(parts[1:], 1):
        last = group == groups - 1
        after = operation.output if last else view.new_value(f"{operation.output}.sum{group}")
        name = operation.name if last else view.new_operation(f"{operation.name}.sum{group}")
        made.append(Operation("add", name, (total, part), (after,), {"swapped": False}))
        total = after
    return tuple(made)
