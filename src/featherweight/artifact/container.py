"""The outer file: safetensors. Eight bytes of header length, a JSON header, then the tensors' bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from featherweight.artifact import strictjson
from featherweight.artifact.array import checked_nbytes, dtype_of
from featherweight.artifact.errors import (
    HeaderError,
    NotSafetensorsError,
    OverlapError,
    PickleRefusedError,
    SizeMismatchError,
    TruncatedError,
)

MAX_HEADER = 100_000_000  # bytes, the limit of the safetensors library
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class Entry:
    """One tensor of the header: ``begin`` and ``end`` count bytes from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """The checked header: entries in order of their bytes; ``body`` is where these begin in the file."""

    metadata: dict[str, str]
    entries: tuple[Entry, ...]
    body: int
    size: int


def build_header(metadata: Mapping[str, str], tensors: Mapping[str, int]) -> bytes:
    """Return length and header for U8 tensors (name to bytes) that follow each other."""
    table: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0
    for name, size in tensors.items():
        table[name] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read_header(file: BinaryIO, where: str) -> Header:
    """Read and check the header; the file is then at the first byte of the body.

    Raises:
        NotSafetensorsError: the file begins like no safetensors file; PickleRefusedError if like a pickle.
        TruncatedError: the file ends too early.
        HeaderError: the header is not what the format asks for; OverlapError if its byte ranges are not.
    """
    size = os.fstat(file.fileno()).st_size if hasattr(file, "fileno") else 0
    start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    _refuse_pickle(start, length, where)
    if len(start) < 8:
        raise TruncatedError(f"{where}: {len(start)} bytes are no safetensors file, which has 8 and more.")
    if length > MAX_HEADER:
        raise NotSafetensorsError(
            f"{where}: not a safetensors file (a header of {length} bytes; the most is {MAX_HEADER})."
        )
    if length > size - 8:
        raise TruncatedError(
            f"{where}: the header should have {length} bytes, the file only has {size} in all."
        )
    text = (start[8:] + file.read(max(0, length - 1)))[:length]
    return _parse(text, 8 + length, size, where)


def _refuse_pickle(start: bytes, length: int, where: str) -> None:
    """Refuse what begins as pickles do, unless those bytes are the length of a header and "{" follows."""
    is_header = length <= MAX_HEADER and start[8:] == b"{"
    if start.startswith(_PICKLES) and not is_header:
        raise PickleRefusedError(
            f"{where}: this is a pickle (torch.save), not a safetensors file. Pickles are never loaded, "
            "since loading one can run code. If you trust it: torch.load(..., weights_only=True), then "
            "featherweight.save."
        )


def _parse(text: bytes, body: int, size: int, where: str) -> Header:
    if not text.startswith(b"{"):
        raise HeaderError(f"{where}: the header must begin with '{{', got {text[:1]!r}.")
    table = strictjson.loads(text, HeaderError, f"{where}: header")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise HeaderError(f"{where}: __metadata__ must hold strings by name.")
    entries = sorted(
        (_entry(name, row, where) for name, row in table.items()), key=lambda e: (e.begin, e.end)
    )
    _check_ranges(entries, size - body, where)
    return Header(metadata, tuple(entries), body, size)


def _entry(name: str, row: Any, where: str) -> Entry:
    at = f"{where}: tensor {name!r}"
    if not isinstance(row, dict) or set(row) != {"dtype", "shape", "data_offsets"}:
        raise HeaderError(f"{at}: must have dtype, shape and data_offsets, and nothing else.")
    shape = strictjson.whole_numbers(row["shape"], HeaderError, f"{at}: shape")
    offsets = strictjson.whole_numbers(row["data_offsets"], HeaderError, f"{at}: data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise OverlapError(
            f"{at}: data_offsets must be [begin, end] with begin <= end, got {list(offsets)[:4]}."
        )
    expected = checked_nbytes(shape, dtype_of(row["dtype"], at).width, at)
    if offsets[1] - offsets[0] != expected:
        raise SizeMismatchError(
            f"{at}: {row['dtype']} {list(shape)} takes {expected} bytes, its offsets {list(offsets)} hold "
            f"{offsets[1] - offsets[0]}."
        )
    return Entry(name, row["dtype"], shape, *offsets)


def _check_ranges(entries: list[Entry], size: int, where: str) -> None:
    """Byte ranges must follow each other without hole or overlap, to the end of the file."""
    at = 0
    for entry in entries:
        if entry.begin != at:
            raise OverlapError(
                f"{where}: tensor {entry.name!r} begins at byte {entry.begin}, expected {at}: byte ranges "
                "must follow each other without hole or overlap."
            )
        at = entry.end
    if at > size:
        raise TruncatedError(f"{where}: the tensors take {at} bytes, only {size} follow the header.")
    if at < size:
        raise OverlapError(f"{where}: {size - at} bytes follow the last tensor; nothing may.")
