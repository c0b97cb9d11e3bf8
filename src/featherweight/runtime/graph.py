"""The network as the runtime sees it: a list of few operations with plain meanings, in the order they run.

docs/design/runtime.md has the table of operations. A Graph is checked when it is made: names, arity, roles
and attributes here, shapes by ``infer_shapes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from featherweight.errors import GraphError
from featherweight.runtime import attributes as kinds
from featherweight.runtime.dims import Dim, Shape
from featherweight.runtime.operations import schemas
from featherweight.runtime.operations.pointwise import DTYPES
from featherweight.runtime.operations.schema import (
    MOST_DIMENSIONS,
    MOST_ELEMENTS,
    Call,
    shape_of,
    within_limits,
)

Storage = Literal["sparse", "dense"]
VERSION = 1
MOST_OPERATIONS = 20_000  # native/plan/graph.h


@dataclass(frozen=True)
class Input:
    """An array that goes in; a size of None is known only when it comes."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise GraphError(
                f"input {self.name!r}: dtype {self.dtype!r} is unknown. There are: {', '.join(DTYPES)}."
            )
        if any(size is not None and (type(size) is not int or size < 1) for size in self.shape):
            raise GraphError(
                f"input {self.name!r}: sizes must be whole numbers above 0 or None, got {self.shape}."
            )
        if len(self.shape) > MOST_DIMENSIONS or not within_limits(self.shape):
            raise GraphError(
                f"input {self.name!r}: at most {MOST_DIMENSIONS} dimensions and {MOST_ELEMENTS} elements, "
                f"got {self.shape}."
            )

    @property
    def symbolic(self) -> Shape:
        """The shape with a symbol for each size that is not known."""
        return tuple(
            Dim((f"{self.name}.{axis}",)) if size is None else size for axis, size in enumerate(self.shape)
        )


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor of the network, float32; ``storage`` says how a file holds it."""

    array: npt.NDArray[np.float32]
    storage: Storage = "dense"

    def __post_init__(self) -> None:
        if self.array.dtype != np.float32:
            raise GraphError(f"a constant must be float32, got {self.array.dtype}.")
        if self.storage not in ("sparse", "dense"):
            raise GraphError(f"a constant's storage is 'sparse' or 'dense', got {self.storage!r}.")


@dataclass(frozen=True)
class Operation:
    """One operation; ``attributes`` come out checked, with defaults filled in.

    Attributes:
        op: a name of ``schemas``.
        name: its own, unique in the graph: of the module or node that it came from.
        inputs: names of values.
        outputs: names of the values it makes: one.
        constants: role to the name of a constant.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    constants: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if self.op not in schemas:
            raise GraphError(
                f"{self.where}: there is no operation of this name. There are: {', '.join(schemas)}."
            )
        schema = schemas[self.op]
        fewest, most = schema.inputs
        if len(self.inputs) < fewest or (most is not None and len(self.inputs) > most):
            raise GraphError(
                f"{self.where}: takes {fewest} to {most or 'any'} inputs, got {list(self.inputs)}."
            )
        if len(self.outputs) != 1:
            raise GraphError(f"{self.where}: gives one output, got {list(self.outputs)}.")
        missing = [role for role, needed in schema.constants.items() if needed and role not in self.constants]
        unknown = [role for role in self.constants if role not in schema.constants]
        if missing or unknown:
            raise GraphError(f"{self.where}: constants {missing} are missing, {unknown} have no place.")
        object.__setattr__(self, "attributes", kinds.checked(self.attributes, schema.attributes, self.where))

    @property
    def where(self) -> str:
        """Words for errors."""
        return f"{self.op} {self.name!r}"

    @property
    def output(self) -> str:
        """The one value that it makes."""
        return self.outputs[0]


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: inputs, operations in the order they run, outputs.

    Raises:
        GraphError: a name stands twice or is not known where it is used.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    constants: Mapping[str, Constant] = field(default_factory=dict[str, Constant], repr=False)

    def __post_init__(self) -> None:
        known: set[str] = set()
        for value in self.inputs:
            _add(known, value.name, "input")
        named: set[str] = set()
        for operation in self.operations:
            _add(named, operation.name, "operation")
            _check_known(known, operation.inputs, operation.where)
            _check_known(self.constants.keys(), operation.constants.values(), operation.where)
            _add(known, operation.output, operation.where)
        _check_known(known, self.outputs, "the graph's outputs")
        if not self.inputs or not self.outputs:
            raise GraphError("a graph has one input and one output at least.")
        if len(set(self.outputs)) != len(self.outputs):
            raise GraphError(f"an output of the graph stands twice: {list(self.outputs)}.")


def _add(known: set[str], name: str, where: str) -> None:
    if not name or name in known:
        raise GraphError(f"{where}: the name {name!r} is {'used twice' if name else 'empty'}.")
    known.add(name)


def _check_known(known: Any, names: Any, where: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise GraphError(f"{where}: {unknown} are not known before it.")


def infer_shapes(graph: Graph) -> dict[str, Shape]:
    """Return the shape of every value; raises GraphError where an operation's inputs do not fit it."""
    shapes = {value.name: value.symbolic for value in graph.inputs}
    for operation in graph.operations:
        constants = {role: graph.constants[name].array.shape for role, name in operation.constants.items()}
        inputs = [shapes[name] for name in operation.inputs]
        call = Call(operation.attributes, inputs, constants, operation.where)
        shapes[operation.output] = shape_of(operation.op, call)
    return shapes


def infer_dtypes(graph: Graph) -> dict[str, str]:
    """Return the dtype of every value.

    Raises:
        GraphError: an operation takes what is not float32, or gives it and is no output of the graph.
    """
    dtypes = {value.name: value.dtype for value in graph.inputs}
    outputs = set(graph.outputs)
    for operation in graph.operations:
        dtypes[operation.output] = _dtype_of(operation, dtypes)
        if dtypes[operation.output] != "float32" and operation.output not in outputs:
            raise GraphError(
                f"{operation.where}: gives {dtypes[operation.output]}, which must be an output of the graph: "
                "the runtime computes with float32."
            )
    return dtypes


def _dtype_of(operation: Operation, dtypes: Mapping[str, str]) -> str:
    if operation.op == "cast":
        return operation.attributes["dtype"]
    wrong = [name for name in operation.inputs if dtypes[name] != "float32"]
    if wrong:
        raise GraphError(
            f"{operation.where}: computes with float32; {wrong[0]!r} is {dtypes[wrong[0]]}. Cast it."
        )
    return "int64" if operation.op == "arg_max" else "float32"
