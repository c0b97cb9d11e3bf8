"""The ``.fw`` file: a Graph as JSON in the metadata of a safetensors file, its constants as tensors.

docs/reference/fw-file.md says all of it. Sparse constants are two tensors: the values that are not zero, and
the gaps between them (artifact/gap.py).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from featherweight.artifact import gap
from featherweight.artifact.array import checked_nbytes
from featherweight.artifact.atomic import replacing
from featherweight.artifact.container import Entry, Header
from featherweight.artifact.errors import (
    HeaderError,
    ManifestError,
    SizeMismatchError,
    TooLargeError,
    TruncatedError,
    VersionError,
)
from featherweight.artifact.reader import limit_of, opened
from featherweight.errors import GraphError
from featherweight.runtime import graph_json
from featherweight.runtime.graph import Constant, Graph, infer_dtypes, infer_shapes

FORMAT, VERSION, GRAPH = "featherweight.fw", "1", "featherweight.graph"
SPARSE_FROM = 0.5  # sparsity from which a constant of two dimensions and more is stored sparse
_VALUES, _GAPS = ".values", ".gaps"


@dataclass(frozen=True)
class FwReport:
    """What was written.

    Attributes:
        path: the file.
        file_bytes: its size.
        operations: how many.
        elements: of all constants.
        nonzeros: of these, those that are not zero.
    """

    path: Path
    file_bytes: int
    operations: int
    elements: int
    nonzeros: int


def with_storage(graph: Graph) -> Graph:
    """Return the graph with each constant stored sparse where half of it is zero, or its kernel is sparse."""
    asked = {
        operation.constants["weight"]
        for operation in graph.operations
        if operation.attributes.get("kernel") == "sparse"
    }
    constants = {
        name: replace(constant, storage="sparse" if name in asked or _is_sparse(constant) else "dense")
        for name, constant in graph.constants.items()
    }
    return Graph(graph.inputs, graph.outputs, graph.operations, constants)


def _is_sparse(constant: Constant) -> bool:
    return constant.array.ndim > 1 and sparsity(constant.array) >= SPARSE_FROM


def sparsity(array: npt.NDArray[Any]) -> float:
    """Return the fraction of zeros, 0..1."""
    return 1 - np.count_nonzero(array) / array.size if array.size else 0.0


def write(path: str | os.PathLike[str], graph: Graph) -> FwReport:
    """Write ``graph`` to ``path``, whole or not at all; constants as their ``storage`` says.

    Raises:
        ArtifactError: the file cannot be written, or two constants would have one name.
    """
    header, arrays = _parts(graph)
    with replacing(path) as file:
        file.write(header)
        for array in arrays:
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    constants = [constant.array for constant in graph.constants.values()]
    return FwReport(
        path=Path(path),
        file_bytes=len(header) + sum(array.nbytes for array in arrays),
        operations=len(graph.operations),
        elements=sum(array.size for array in constants),
        nonzeros=sum(int(np.count_nonzero(array)) for array in constants),
    )


def to_bytes(graph: Graph) -> bytes:
    """Return what ``write`` writes."""
    header, arrays = _parts(graph)
    return b"".join([header, *(np.ascontiguousarray(array).tobytes() for array in arrays)])


def _parts(graph: Graph) -> tuple[bytes, list[npt.NDArray[Any]]]:
    """Return the header, and the tensors in their order: floats first, so that all of them are aligned."""
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name, constant in graph.constants.items():
        for full, array in _stored(name, constant):
            if full in tensors:
                raise ManifestError(f"two constants would be stored as {full!r}. Name them otherwise.")
            tensors[full] = array
    ordered = sorted(tensors.items(), key=lambda item: -item[1].itemsize)
    return _header(graph_json.to_json(graph), dict(ordered)), [array for _, array in ordered]


def _stored(name: str, constant: Constant) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    if constant.storage == "dense":
        yield name, constant.array.astype("<f4", copy=False)
        return
    flat = constant.array.reshape(-1)
    positions = np.flatnonzero(flat).astype(np.int64)
    yield name + _VALUES, flat[positions].astype("<f4", copy=False)
    yield name + _GAPS, gap.encode(positions, flat.size)


def _header(graph: str, tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    table: dict[str, Any] = {"__metadata__": {"format": FORMAT, "version": VERSION, GRAPH: graph}}
    at = 0
    for name, array in tensors.items():
        dtype = "U8" if array.dtype == np.uint8 else "F32"
        table[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> Graph:
    """Read a ``.fw`` file; nothing in it is believed before it is checked.

    Args:
        path: the file.
        max_bytes: the most that the constants may take, in bytes: by default 256 MiB or 1024 times the
            size of the file, whichever is more.

    Raises:
        ArtifactError: no such file, or one that is no well-formed ``.fw`` file.
    """
    with opened(path) as (file, header, where):
        table = _graph_table(header, where)
        shapes = _constant_shapes(table, where)
        limit = limit_of(header, max_bytes)
        total = sum(checked_nbytes(shape, 4, f"{where}: {name!r}") for name, (shape, _) in shapes.items())
        if total > limit:
            raise TooLargeError(f"{where}: {total} bytes of constants; the most is {limit}.")
        tensors = dict(_tensors(file, header, where))
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    for name, (shape, storage) in shapes.items():
        at = f"{where}: constant {name!r}"
        arrays[name] = (
            _sparse(tensors, name, shape, at) if storage == "sparse" else _dense(tensors, name, shape, at)
        )
    if tensors:
        raise ManifestError(f"{where}: tensors {sorted(tensors)[:8]} belong to no constant.")
    try:
        graph = graph_json.from_json(table, arrays, where)
        infer_shapes(graph)
        infer_dtypes(graph)
    except GraphError as error:
        words = str(error)
        raise ManifestError(words if words.startswith(where) else f"{where}: {words}") from error
    return graph


def _graph_table(header: Header, where: str) -> dict[str, Any]:
    metadata = header.metadata
    if metadata.get("format") != FORMAT or GRAPH not in metadata:
        raise HeaderError(
            f"{where}: not a .fw file (its metadata has no format {FORMAT!r} and {GRAPH!r}). "
            "featherweight.compile makes one; files of featherweight.save are opened with featherweight.load."
        )
    if metadata.get("version") != VERSION:
        raise VersionError(
            f"{where}: .fw version {metadata.get('version', '')[:20]!r}; this library reads {VERSION!r}. "
            "Update it."
        )
    try:
        return graph_json.parse(metadata[GRAPH], f"{where}: graph")
    except GraphError as error:
        raise ManifestError(str(error)) from error


def _constant_shapes(table: Mapping[str, Any], where: str) -> dict[str, tuple[tuple[int, ...], str]]:
    try:
        return graph_json.constant_shapes(table, where)
    except GraphError as error:
        raise ManifestError(str(error)) from error


def _tensors(
    file: BinaryIO, header: Header, where: str
) -> Iterator[tuple[str, tuple[Entry, npt.NDArray[Any]]]]:
    for entry in header.entries:
        data = file.read(entry.end - entry.begin)
        if len(data) != entry.end - entry.begin:
            raise TruncatedError(f"{where}: tensor {entry.name!r} is cut off.")
        yield entry.name, (entry, np.frombuffer(data, np.uint8))


def _taken(tensors: dict[str, Any], name: str, dtype: str, where: str) -> tuple[Entry, npt.NDArray[np.uint8]]:
    if name not in tensors:
        raise ManifestError(f"{where}: the file has no tensor {name!r}.")
    entry, data = tensors.pop(name)
    if entry.dtype != dtype:
        raise ManifestError(f"{where}: tensor {name!r} must be {dtype}, got {entry.dtype}.")
    return entry, data


def _dense(tensors: dict[str, Any], name: str, shape: tuple[int, ...], where: str) -> npt.NDArray[np.float32]:
    entry, data = _taken(tensors, name, "F32", where)
    if entry.shape != shape:
        raise SizeMismatchError(f"{where}: the graph says {list(shape)}, the tensor is {list(entry.shape)}.")
    return data.view("<f4").reshape(shape)


def _sparse(
    tensors: dict[str, Any], name: str, shape: tuple[int, ...], where: str
) -> npt.NDArray[np.float32]:
    _, values = _taken(tensors, name + _VALUES, "F32", where)
    _, gaps = _taken(tensors, name + _GAPS, "U8", where)
    elements = math.prod(shape)
    least, most = gap.length_range(elements, values.size // 4)
    if values.size // 4 > elements or not least <= gaps.size <= most:
        raise SizeMismatchError(
            f"{where}: {values.size // 4} values and {gaps.size} gaps cannot be of {elements} elements."
        )
    dense = np.zeros(elements, "<u4")
    gap.scatter(gaps, values.view("<u4"), dense, where)
    return dense.view("<f4").reshape(shape)
