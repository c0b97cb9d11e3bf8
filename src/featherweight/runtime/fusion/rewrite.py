"""What a rewrite is: it looks at one operation at a time, and says what should stand in the place of some."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy.typing as npt

from featherweight._registry import Registry
from featherweight.runtime.dims import Shape
from featherweight.runtime.graph import Constant, Graph, Operation, infer_shapes

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Change:
    """What stands in the place of operations.

    Attributes:
        places: name of each operation that the change hangs on, to what stands there then.
        constants: new ones by name.
        renames: values that are gone, to those that are read instead.
    """

    places: Mapping[str, tuple[Operation, ...]]
    constants: Mapping[str, Array] = field(default_factory=dict[str, Array])
    renames: Mapping[str, str] = field(default_factory=dict[str, str])


class View:
    """A Graph with who makes and who reads each value."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers = {operation.output: operation for operation in graph.operations}
        self.order = {operation.name: place for place, operation in enumerate(graph.operations)}
        self.readers: dict[str, list[Operation]] = defaultdict(list)
        for operation in graph.operations:
            for value in operation.inputs:
                self.readers[value].append(operation)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shape of every value."""
        return infer_shapes(self.graph)

    def is_output(self, value: str) -> bool:
        """Whether the network gives this value."""
        return value in self.graph.outputs

    def sole(self, value: str, *ops: str) -> Operation | None:
        """Return what makes ``value``, if it is one of ``ops`` and nothing but one operation reads it."""
        maker = self.makers.get(value)
        if maker is None or maker.op not in ops or self.is_output(value) or len(self.readers[value]) != 1:
            return None
        return maker

    def constant(self, operation: Operation, role: str) -> Array | None:
        """Return the constant of a role, None where there is none."""
        name = operation.constants.get(role)
        return None if name is None else self.graph.constants[name].array

    def new_name(self, name: str) -> str:
        """Return a name for a constant that is not taken."""
        return _unused(name, self.graph.constants)

    def new_value(self, name: str) -> str:
        """Return a name for a value that is not taken."""
        return _unused(name, {*self.makers, *(value.name for value in self.graph.inputs)})

    def new_operation(self, name: str) -> str:
        """Return a name for an operation that is not taken."""
        return _unused(name, self.order)


def _unused(name: str, taken: Container[str]) -> str:
    number = 1
    while f"{name}.{number}" in taken:
        number += 1
    return f"{name}.{number}"


Match: TypeAlias = Callable[[View, Operation], Change | None]
rewrites: Registry[Match] = Registry("rewrite")


def sweep(graph: Graph, match: Match) -> Graph:
    """Return ``graph`` with the changes that ``match`` finds, but those that touch others; itself if none."""
    view = View(graph)
    touched: set[str] = set()
    changes: list[Change] = []
    for operation in graph.operations:
        if operation.name in touched:
            continue
        change = match(view, operation)
        if change is None or touched & change.places.keys():
            continue
        touched |= change.places.keys()
        changes.append(change)
    return _applied(graph, changes) if changes else graph


def _applied(graph: Graph, changes: list[Change]) -> Graph:
    places = {name: made for change in changes for name, made in change.places.items()}
    renames = {old: new for change in changes for old, new in change.renames.items()}
    operations: list[Operation] = []
    for operation in graph.operations:
        operations.extend(places.get(operation.name, (operation,)))
    renamed = tuple(_renamed(operation, renames) for operation in operations)
    constants = dict(graph.constants)
    for change in changes:
        constants.update({name: Constant(array) for name, array in change.constants.items()})
    return without_dead(Graph(graph.inputs, graph.outputs, renamed, constants))


def _renamed(operation: Operation, renames: Mapping[str, str]) -> Operation:
    if not renames.keys() & set(operation.inputs):
        return operation
    inputs: list[str] = []
    for value in operation.inputs:
        while value in renames:
            value = renames[value]  # noqa: PLW2901
        inputs.append(value)
    return replace(operation, inputs=tuple(inputs))


def without_dead(graph: Graph) -> Graph:
    """Return the graph without operations that no output hangs on, and without constants that none takes."""
    wanted, kept = set(graph.outputs), list[Operation]()
    for operation in reversed(graph.operations):
        if operation.output in wanted:
            kept.append(operation)
            wanted.update(operation.inputs)
    used = {name for operation in kept for name in operation.constants.values()}
    constants = {name: constant for name, constant in graph.constants.items() if name in used}
    if len(kept) == len(graph.operations) and len(constants) == len(graph.constants):
        return graph
    return Graph(graph.inputs, graph.outputs, tuple(reversed(kept)), constants)
