"""Which dimension of which tensor moves with which: the rules, applied to a graph from its inputs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from featherweight.core.trace import Call, Graph, refs
from featherweight.structured.rules import Axes, Flow, Rule, Statistic, rules
from featherweight.structured.rules.pointwise import pointwise
from featherweight.structured.rules.zeros import keeps_zeros
from featherweight.structured.units import Axis, Units, Why, fixed

_IDLE = Why("no operation used it on the example inputs")


@dataclass(frozen=True)
class Place:
    """A dimension of a stored tensor.

    Attributes:
        tensor: its name in the state dict.
        dim: the dimension, from 0.
    """

    tensor: str
    dim: int


@dataclass(frozen=True)
class Frozen:
    """A dimension of a stored tensor of which no index can be cut, and why."""

    place: Place
    size: int
    reasons: tuple[Why, ...]


@dataclass(frozen=True)
class Tracing:
    """What can be cut in a network.

    Attributes:
        graph: the network.
        units: all units.
        axes: the axes of every tensor of the graph, resolved.
        frozen: dimensions of stored tensors of which no index can be cut, with the reasons.
        stored: names of parameters and buffers, each with the name of its tensor in the graph.
        statistics: means, variances and norms that run over what may be cut.
        unknown: calls that have no rule, or none that fits: all that they touch is frozen.
    """

    graph: Graph
    units: Units
    axes: Mapping[str, Axes]
    frozen: tuple[Frozen, ...]
    stored: Mapping[str, str]
    statistics: tuple[Statistic, ...]
    unknown: tuple[Call, ...]


def trace_axes(graph: Graph) -> Tracing:
    """Follow every dimension of every tensor through ``graph``."""
    units = Units()
    known = {name: _initial(graph, units, name) for name in (*graph.stored, *graph.inputs)}
    statistics: list[Statistic] = []
    unknown: list[Call] = []
    shapes = dict(graph.shapes)
    zero = dict.fromkeys(graph.stored, True)
    for call in graph.calls:
        for ref in refs(call.arguments):  # constants of the program, and what is not traced
            known.setdefault(ref.name, [fixed(size) for size in graph.shapes[ref.name]])
        flow = Flow(call, units, known, shapes, statistics, zero)
        outputs = _applied(flow, unknown)
        zero |= dict.fromkeys(call.outputs, keeps_zeros(call, zero, shapes))
        known |= dict(zip(call.outputs, outputs, strict=True))
    for name in graph.outputs:
        for axis in known.get(name, []):
            units.freeze(axis, Why("output of the network"))
    for name in _unused(graph):
        for axis in known[name]:
            units.freeze(axis, _IDLE)
    stored = {target: name for name, target in graph.stored.items()}
    axes = _resolved(units, known)
    if (idle := _sliced_away(graph, axes, len(units))).size:
        units.freeze(idle, _IDLE)
        axes = _resolved(units, known)
    frozen = _frozen(units, known, axes, stored)
    return Tracing(graph, units, axes, frozen, stored, tuple(statistics), tuple(unknown))


def _resolved(units: Units, known: Mapping[str, Axes]) -> dict[str, Axes]:
    """Return all axes resolved; those that are one object stay one."""
    done = {id(axis): axis for axes in known.values() for axis in axes}
    done = {key: units.resolve(axis) for key, axis in done.items()}
    return {name: [done[id(axis)] for axis in axes] for name, axes in known.items()}


def _frozen(
    units: Units, known: Mapping[str, Axes], resolved: Mapping[str, Axes], stored: Mapping[str, str]
) -> tuple[Frozen, ...]:
    return tuple(
        Frozen(Place(tensor, dim), len(axis), tuple(units.why_frozen(known[value][dim])))
        for tensor, value in stored.items()
        for dim, axis in enumerate(resolved[value])
        if len(axis) > 1 and not axis.size
    )


def _initial(graph: Graph, units: Units, name: str) -> Axes:
    """Return new units for a parameter or buffer; a dimension of size 1, or of an input, is never cut."""
    free = name in graph.stored
    return [units.fresh(size) if free and size > 1 else fixed(size) for size in graph.shapes[name]]


def _unused(graph: Graph) -> set[str]:
    """Return the parameters and buffers that nothing was computed with; other inputs might use them."""
    used = {ref.name for call in graph.calls for ref in refs(call.arguments)}
    return graph.stored.keys() - used - set(graph.outputs)


# Operations that leave indices out, and do nothing else with them.
_LEAVE_OUT = (
    "slice", "select", "narrow", "split", "split_with_sizes", "chunk", "tensor_split", "unbind",
    "unsafe_split", "unsafe_chunk", "index_select", "constant_pad_nd", "pad",
)  # fmt: skip


def _sliced_away(graph: Graph, axes: Mapping[str, Axes], number: int) -> Axis:
    """Return the units that reach nothing: they are in no output, and no sum or product runs over them.

    They are rows of a table, such as positions, that these inputs were too short for; longer ones need them.
    """
    reaches = np.zeros(number + 1, bool)  # the last one: NONE
    for call in graph.calls:
        if _name(call) in _LEAVE_OUT:
            continue
        comes = np.zeros(number + 1, bool)
        for ref in refs(call.arguments):
            for axis in axes[ref.name]:
                comes[axis] = True
        for output in call.outputs:
            for axis in axes[output]:
                comes[axis] = False
        reaches |= comes
    held = np.zeros(number + 1, bool)
    for name in graph.stored:
        for axis in axes[name]:
            held[axis] = True
    return np.flatnonzero((held & ~reaches)[:-1])[:, None]


def _name(call: Call) -> str:
    """Return the name of an operation without its library and overload."""
    return call.op.split(".")[1] if "." in call.op else call.op


def _applied(flow: Flow, unknown: list[Call]) -> list[Axes]:
    """Return the axes of a call's outputs; without a rule that fits it, nothing that it touches is cut."""
    call = flow.call
    if not call.outputs:
        return []
    given = pointwise if call.is_pointwise else None
    if call.op in rules:
        given = rules[call.op]
    found = None if given is None else _fitting(flow, given)
    if found is not None:
        return found
    unknown.append(call)
    what = "an operation without a rule" if given is None else "an operation that its rule does not fit"
    for axes in flow.all_axes():
        flow.freeze(axes, what)
    return [[fixed(size) for size in flow.shape(output)] for output in range(len(call.outputs))]


def _fitting(flow: Flow, given: Rule) -> list[Axes] | None:
    """Return what a rule gives; None where it fails, or gives axes of other sizes than the outputs have.

    What it stated before only forbids cuts.
    """
    try:
        found = given(flow)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, StopIteration):
        return None
    sizes = [tuple(map(len, axes)) for axes in found]
    expected = [flow.shape(output) for output in range(len(flow.call.outputs))]
    return found if sizes == expected else None
