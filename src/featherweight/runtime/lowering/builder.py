"""What handlers build a Graph with: values and their shapes, constants, and what is known while compiling.

A name of the ONNX graph stands for a value (an array that comes when the network runs) or for something
known: a numpy array, whose elements may be Dims where it holds sizes of inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from featherweight.errors import GraphError, UnsupportedError
from featherweight.runtime.activation import Activation
from featherweight.runtime.dims import Dim, Shape, Size
from featherweight.runtime.graph import Constant, Graph, Input, Operation
from featherweight.runtime.lowering.node import Node
from featherweight.runtime.operations.schema import Call, shape_of

Array = npt.NDArray[Any]


class Builder:
    """A Graph that grows; ``node`` is what is being lowered, and names what it makes."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self.inputs = tuple(inputs)
        self.node = Node("", "", (), (), {})
        self._shapes: dict[str, Shape] = {value.name: value.symbolic for value in inputs}
        self._dtypes: dict[str, str] = {value.name: value.dtype for value in inputs}
        self._known: dict[str, Array] = {}
        self._repeated: dict[str, tuple[Array, Shape]] = {}
        self._alias: dict[str, str] = {}
        self._operations: list[Operation] = []
        self._constants: dict[str, Constant] = {}
        self._names: set[str] = set(self._shapes)
        self._operation_names: set[str] = set()

    # What there is.

    def known(self, name: str) -> Array | None:
        """Return the array that ``name`` stands for, None if it comes only when the network runs."""
        return self._known.get(name)

    def is_constant(self, name: str) -> bool:
        """Whether ``name`` stands for a known array, maybe one that is repeated for each image."""
        return name in self._known or name in self._repeated

    def weights(self, name: str, role: str) -> npt.NDArray[np.float32]:
        """Return a known array as float32; raises UnsupportedError where it is computed while running."""
        array = self._repeated[name][0] if name in self._repeated else self.known(name)
        if array is None:
            raise UnsupportedError(f"its {role} is computed while the network runs; it must be a constant")
        return as_float(array, role)

    def numbers(self, name: str, role: str) -> list[int]:
        """Return a known array of whole numbers as a list; raises UnsupportedError if it is anything else."""
        array = self.known(name)
        if array is None or any(isinstance(item, Dim) for item in array.reshape(-1)):
            raise UnsupportedError(f"its {role} hangs on the inputs; it must be a constant")
        return [int(item) for item in as_whole(array, role).reshape(-1)]

    def shape(self, name: str) -> Shape:
        """Return the shape of a value, or of a known array."""
        known = self.known(name)
        return tuple(map(int, known.shape)) if known is not None else self._shapes[self.value(name)]

    def shape_of_any(self, name: str) -> Shape:
        """Return the shape also of an array that is repeated for each image."""
        return self._repeated[name][1] if name in self._repeated else self.shape(name)

    def dtype(self, name: str) -> str:
        """Return the dtype of a value."""
        return self._dtypes[self.value(name)]

    def value(self, name: str) -> str:
        """Return the value that ``name`` stands for; raises UnsupportedError for what is known."""
        found = self._alias.get(name, name)
        if found in self._shapes:
            return found
        if self.is_constant(name):
            raise UnsupportedError("it takes a constant where the runtime takes only what is computed")
        raise UnsupportedError(f"its input {name!r} could not be lowered")

    def has(self, name: str) -> bool:
        """Whether ``name`` stands for anything."""
        return self.is_constant(name) or self._alias.get(name, name) in self._shapes

    # What handlers add.

    def know(self, name: str, array: Array) -> None:
        """Let ``name`` stand for a known array."""
        self._known[name] = array

    def know_repeated(self, name: str, array: Array, shape: Sequence[Size]) -> None:
        """Let ``name`` stand for ``array`` repeated to a ``shape`` that hangs on the inputs."""
        self._repeated[name] = (array, tuple(shape))

    def alias(self, name: str, value: str) -> None:
        """Let ``name`` stand for what ``value`` stands for."""
        if value in self._known:
            self._known[name] = self._known[value]
        elif value in self._repeated:
            self._repeated[name] = self._repeated[value]
        else:
            self._alias[name] = self.value(value)

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        output: str | None = None,
        constants: Mapping[str, Array | None] | None = None,
        **attributes: Any,
    ) -> str:
        """Add an operation and return the name of what it makes.

        Args:
            op: its name.
            inputs: names of values.
            output: name of the ONNX graph that will stand for it; None for something in between.
            constants: role to array; None is left out.
            attributes: of the operation; None is left out.
        """
        arrays = {
            role: as_float(array, role) for role, array in (constants or {}).items() if array is not None
        }
        values = tuple(self.value(name) for name in inputs)
        given = {name: value for name, value in attributes.items() if value is not None}
        name = _unused(self.node.name, self._operation_names)
        made = _unused(output or f"{self.node.output}.{op}", self._names)
        try:
            probe = Operation(op, name, values, (made,), given, dict.fromkeys(arrays, "-"))
            shapes = {role: array.shape for role, array in arrays.items()}
            call = Call(probe.attributes, [self._shapes[value] for value in values], shapes, probe.where)
            shape = shape_of(op, call)
        except GraphError as error:
            raise UnsupportedError(str(error)) from error
        self._check_dtypes(op, values)
        stored = {role: self._store(array, f"{name}.{role}") for role, array in arrays.items()}
        self._operations.append(Operation(op, name, values, (made,), probe.attributes, stored))
        self._shapes[made] = shape
        self._dtypes[made] = given["dtype"] if op == "cast" else "int64" if op == "arg_max" else "float32"
        self._names.add(made)
        self._operation_names.add(name)
        if output is not None and output != made:
            self._alias[output] = made
        return made

    def unary(self, kind: str, value: str, output: str | None = None, *parameters: float) -> str:
        """Add an activation of every element."""
        return self.emit("unary", [value], output, activation=Activation(kind, parameters))

    def reshape(self, value: str, shape: Sequence[int], output: str | None = None) -> str:
        """Add a reshape: 0 copies a size, -1 is inferred."""
        return self.emit("reshape", [value], output, shape=tuple(shape))

    def reshape_to(self, value: str, sizes: Sequence[Size], output: str | None = None) -> str:
        """Add a reshape to sizes, of which those that are not known are the input's, and one -1 at most.

        Raises:
            UnsupportedError: more than one size is not known, and stands at another place of the input.
        """
        shape, target = self.shape(value), list[int]()
        for axis, size in enumerate(sizes):
            if isinstance(size, int):
                target.append(size)
            else:
                target.append(0 if axis < len(shape) and shape[axis] == size else -1)
        if target.count(-1) > 1:
            raise UnsupportedError(
                f"it reshapes {list(shape)} to {list(sizes)}, where more than one size is not known"
            )
        return self.reshape(value, target, output)

    def graph(self, outputs: Sequence[str]) -> Graph:
        """Return the Graph; each output is made under its own name."""
        named: list[str] = []
        for output in outputs:
            value = self.value(output)
            if value != output or value in named or any(value == entry.name for entry in self.inputs):
                self.node = Node("Identity", f"{output}.output", (), (output,), {})
                value = self._copied(value, output)
            named.append(value)
        used = {name for operation in self._operations for name in operation.constants.values()}
        constants = {name: constant for name, constant in self._constants.items() if name in used}
        return Graph(self.inputs, tuple(named), tuple(self._operations), constants)

    def _copied(self, value: str, output: str) -> str:
        dtype = self._dtypes[value]
        if dtype != "float32":
            return self.emit("cast", [value], output, dtype=dtype)
        return self.reshape(value, [0] * len(self._shapes[value]), output)

    def _check_dtypes(self, op: str, values: Sequence[str]) -> None:
        wrong = [value for value in values if self._dtypes[value] != "float32"]
        if wrong and op != "cast":
            raise UnsupportedError(
                f"it computes with {self._dtypes[wrong[0]]} ({wrong[0]!r}); the runtime computes with float32"
            )

    def _store(self, array: npt.NDArray[np.float32], name: str) -> str:
        name = _unused(name, self._constants)
        self._constants[name] = Constant(np.ascontiguousarray(array))
        return name


def as_float(array: Array, role: str) -> npt.NDArray[np.float32]:
    """Return a known array as float32; raises UnsupportedError for sizes of inputs and numbers beyond it."""
    if array.dtype == object:
        raise UnsupportedError(f"its {role} hangs on the sizes of the inputs; it must be a constant")
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise UnsupportedError(f"its {role} is {array.dtype}; the runtime computes with float32")
    with np.errstate(over="ignore"):
        return np.asarray(array, dtype=np.float32)


def as_whole(array: Array, role: str) -> Array:
    """Return a known array of whole numbers or sizes; raises UnsupportedError for anything else."""
    if array.dtype.kind not in "iuO":
        raise UnsupportedError(f"its {role} is {array.dtype}; ONNX asks for whole numbers")
    return array


def _unused(name: str, taken: Any) -> str:
    """Return ``name``, or the first of name.1, name.2, ... that is not taken."""
    if name not in taken:
        return name
    number = 1
    while f"{name}.{number}" in taken:
        number += 1
    return f"{name}.{number}"
