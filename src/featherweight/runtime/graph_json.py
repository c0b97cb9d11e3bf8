"""A Graph as JSON, and back: what ``.fw`` files hold, and what the native engine reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from featherweight.artifact import strictjson
from featherweight.errors import ArtifactError, GraphError
from featherweight.runtime.activation import Activation
from featherweight.runtime.graph import MOST_OPERATIONS, VERSION, Constant, Graph, Input, Operation

_OPERATION_KEYS = {"op", "name", "inputs", "outputs", "attributes", "constants"}


def to_json(graph: Graph) -> str:
    """Return the graph, without the elements of its constants."""
    table = {
        "version": VERSION,
        "inputs": [{"name": i.name, "dtype": i.dtype, "shape": list(i.shape)} for i in graph.inputs],
        "outputs": list(graph.outputs),
        "operations": [_operation(operation) for operation in graph.operations],
        "constants": {
            name: {"shape": list(constant.array.shape), "storage": constant.storage}
            for name, constant in graph.constants.items()
        },
    }
    return json.dumps(table, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _operation(operation: Operation) -> dict[str, Any]:
    attributes = {
        name: value.to_json() if isinstance(value, Activation) else value
        for name, value in operation.attributes.items()
    }
    return {
        "op": operation.op,
        "name": operation.name,
        "inputs": list(operation.inputs),
        "outputs": list(operation.outputs),
        "attributes": attributes,
        "constants": dict(operation.constants),
    }


def parse(text: str, where: str) -> dict[str, Any]:
    """Return the JSON object of a graph of this version; raises GraphError for anything else."""
    try:
        table = strictjson.loads(text.encode("utf-8", "surrogatepass"), ArtifactError, where)
    except ArtifactError as error:
        raise GraphError(str(error)) from error
    if table.get("version") != VERSION:
        raise GraphError(
            f"{where}: version {str(table.get('version'))[:20]}; this library reads {VERSION}. Update it."
        )
    if set(table) != {"version", "inputs", "outputs", "operations", "constants"}:
        raise GraphError(f"{where}: must have inputs, outputs, operations and constants, and nothing else.")
    return table


def constant_shapes(table: Mapping[str, Any], where: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return name to shape and storage of the constants of a parsed graph."""
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for name, entry in _mapping(table["constants"], f"{where}: constants").items():
        at = f"{where}: constant {name!r}"
        if set(_mapping(entry, at)) != {"shape", "storage"} or entry["storage"] not in ("sparse", "dense"):
            raise GraphError(f"{at}: must have a shape, and a storage of 'sparse' or 'dense'.")
        found[name] = (_wholes(entry["shape"], at), entry["storage"])
    return found


def from_json(table: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[np.float32]], where: str) -> Graph:
    """Return the graph of a parsed table whose constants are ``arrays``; raises GraphError if it is none."""
    constants: dict[str, Constant] = {}
    for name, (_, storage) in constant_shapes(table, where).items():
        constants[name] = Constant(arrays[name], "sparse" if storage == "sparse" else "dense")
    rows = _list(table["operations"], f"{where}: operations")
    if len(rows) > MOST_OPERATIONS:
        raise GraphError(f"{where}: {len(rows)} operations; the most is {MOST_OPERATIONS}.")
    return Graph(
        tuple(_input(row, f"{where}: input {n}") for n, row in enumerate(_list(table["inputs"], where))),
        _texts(table["outputs"], f"{where}: outputs"),
        tuple(_read(row, f"{where}: operation {number}") for number, row in enumerate(rows)),
        constants,
    )


def _input(row: Any, where: str) -> Input:
    if set(_mapping(row, where)) != {"name", "dtype", "shape"}:
        raise GraphError(f"{where}: must have name, dtype and shape, and nothing else.")
    name, dtype = _texts([row["name"], row["dtype"]], where)
    return Input(name, tuple(_list(row["shape"], where)), dtype)


def _read(row: Any, where: str) -> Operation:
    keys = set(_mapping(row, where))
    if not {"op", "name", "inputs", "outputs"} <= keys <= _OPERATION_KEYS:
        raise GraphError(
            f"{where}: must have {sorted(_OPERATION_KEYS)}, and nothing else; got {sorted(keys)}."
        )
    op, name = _texts([row["op"], row["name"]], where)
    constants = _mapping(row.get("constants", {}), f"{where}: constants")
    _texts(list(constants.values()), f"{where}: constants")
    attributes = _mapping(row.get("attributes", {}), f"{where}: attributes")
    outputs = _texts(row["outputs"], where)
    return Operation(op, name, _texts(row["inputs"], where), outputs, attributes, constants)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise GraphError(f"{where}: expected an object, got {type(value).__name__}.")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise GraphError(f"{where}: expected a list, got {type(value).__name__}.")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    return strictjson.texts(value, GraphError, where)  # pyright: ignore[reportArgumentType]


def _wholes(value: Any, where: str) -> tuple[int, ...]:
    return strictjson.whole_numbers(value, GraphError, where)  # pyright: ignore[reportArgumentType]
