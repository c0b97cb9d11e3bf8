"""Reads an ONNX network that may come from a stranger: sizes, paths and structure are checked first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

from featherweight.errors import OnnxError

MOST_BYTES = 8 << 30  # of a network, external data included
MOST_NODES = 200_000
NEEDS = "Compiling needs onnx and onnxscript: pip install 'featherweight[onnx]'"
# A path, the bytes of a file, or an onnx.ModelProto.
Source: TypeAlias = "str | os.PathLike[str] | bytes | Any"


def load(source: Source) -> Any:
    """Return the checked onnx.ModelProto of ``source``, with all tensors inside.

    Raises:
        OnnxError: no ONNX network, a broken or too large one, or one whose tensors lie outside its folder.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ImportError(NEEDS) from error
    if isinstance(source, onnx.ModelProto):
        model, folder, where = source, None, "the ONNX model"
    elif isinstance(source, bytes):
        model, folder, where = _parse(source, "the ONNX bytes"), None, "the ONNX bytes"
    else:
        path = Path(source)
        where = repr(os.fspath(path))
        model, folder = _parse(_read(path, where), where), path.parent
    _check_structure(model, where)
    _load_external(model, folder, where)
    _check(model, where)
    return model


def _read(path: Path, where: str) -> bytes:
    try:
        if not path.is_file():
            raise OnnxError(f"{where}: there is no such file.")
        if path.stat().st_size > MOST_BYTES:
            raise OnnxError(f"{where}: {path.stat().st_size} bytes; the most is {MOST_BYTES}.")
        return path.read_bytes()
    except OSError as error:
        raise OnnxError(f"{where}: cannot be read: {error.strerror or error}.") from error


def _parse(data: bytes, where: str) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, RecursionError, ValueError) as error:
        raise OnnxError(f"{where}: not an ONNX network ({error}).") from error
    if not model.HasField("graph") or not model.ir_version:
        raise OnnxError(f"{where}: not an ONNX network (it has no graph).")
    return model


def _check_structure(model: Any, where: str) -> None:
    if len(model.graph.node) > MOST_NODES:
        raise OnnxError(f"{where}: {len(model.graph.node)} nodes; the most is {MOST_NODES}.")
    if not model.graph.node or not model.graph.output:
        raise OnnxError(f"{where}: the graph has no nodes or no outputs: there is nothing to compile.")


def _load_external(model: Any, folder: Path | None, where: str) -> None:
    """Put tensors of other files into the model; those must lie in its folder, or below it."""
    from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

    for tensor in model.graph.initializer:
        if not uses_external_data(tensor):
            continue
        if folder is None:
            raise OnnxError(
                f"{where}: tensor {tensor.name!r} lies in another file, which cannot be found from here. "
                "Give the path of the .onnx file, or load it with onnx.load, which reads all."
            )
        location = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        _check_place(folder, location, f"{where}: tensor {tensor.name!r}")
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except Exception as error:
            raise OnnxError(
                f"{where}: tensor {tensor.name!r} cannot be read from {location!r}: {error}"
            ) from error
        tensor.data_location = type(tensor).DEFAULT
        del tensor.external_data[:]


def _check_place(folder: Path, location: str, where: str) -> None:
    path = Path(os.path.realpath(folder / location))
    root = Path(os.path.realpath(folder))
    if not location or os.path.isabs(location) or not path.is_relative_to(root) or not path.is_file():
        raise OnnxError(f"{where}: its data must be a file in the folder of the network, got {location!r}.")
    if path.stat().st_size > MOST_BYTES:
        raise OnnxError(f"{where}: {path.stat().st_size} bytes of data; the most is {MOST_BYTES}.")


def _check(model: Any, where: str) -> None:
    import onnx

    if model.ByteSize() > 2**31 - 1:  # the checker serialises, which protobuf refuses above 2 GiB
        return
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise OnnxError(f"{where}: not a well-formed ONNX network: {str(error).strip()}") from error
