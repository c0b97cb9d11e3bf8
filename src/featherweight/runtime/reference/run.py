"""Run a Graph, operation by operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from featherweight.errors import InputError
from featherweight.runtime.graph import Graph
from featherweight.runtime.reference.activations import activate
from featherweight.runtime.reference.kernel import Run, kernels


def run(graph: Graph, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of ``graph`` by name, for ``inputs`` by name."""
    missing = [value.name for value in graph.inputs if value.name not in inputs]
    if missing:
        raise InputError(f"inputs {missing} are missing; got {sorted(inputs)}.")
    values: dict[str, npt.NDArray[Any]] = {value.name: inputs[value.name] for value in graph.inputs}
    for operation in graph.operations:
        constants = {role: graph.constants[name].array for role, name in operation.constants.items()}
        arrays = [_wide(values[name]) for name in operation.inputs]
        called = Run(operation.attributes, arrays, {role: _wide(array) for role, array in constants.items()})
        result = kernels[operation.op](called)
        if operation.op in ("conv", "linear") and len(arrays) == 2:
            result = result + arrays[1]
        if "activation" in operation.attributes:
            result = activate(result, operation.attributes["activation"])
        values[operation.output] = result.astype(np.float32) if result.dtype == np.float64 else result
    return {name: values[name] for name in graph.outputs}


def _wide(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.astype(np.float64) if array.dtype == np.float32 else array
