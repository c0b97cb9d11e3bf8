"""Read a compact file, or any safetensors file. Everything is checked before it is believed."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from featherweight.artifact import codings, rounding, streams
from featherweight.artifact.array import Array, Bytes
from featherweight.artifact.container import Header, read_header
from featherweight.artifact.errors import (
    ChecksumError,
    HeaderError,
    NotSafetensorsError,
    SizeMismatchError,
    TooLargeError,
    TruncatedError,
    VersionError,
)
from featherweight.artifact.manifest import Manifest, Row
from featherweight.artifact.validate import manifest_of
from featherweight.artifact.writer import MANIFEST, METADATA_KEY, STREAMS, VERSION
from featherweight.errors import ArtifactError, SettingError

_LEAST_LIMIT = 256 << 20  # bytes
_MOST_RATIO = 1024  # decoded to file size


@dataclass(frozen=True)
class Contents:
    """What a file holds: tensors by name in the order written, and the metadata that the writer gave."""

    tensors: dict[str, Array]
    metadata: dict[str, str]


def read(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> Contents:
    """Read all tensors of ``path``: a compact file, or a plain safetensors file.

    Args:
        path: the file.
        max_bytes: the most that decoding may take (tensors and streams, in bytes). By default 256 MiB or 1024
            times the size of the file, whichever is more. Working memory comes on top: up to 9 bytes for each
            element of one tensor.

    Raises:
        ArtifactError: the file cannot be opened, or is malformed: one subclass for each way (errors.py). No
            memory is taken in proportion to a size that the file claims before that claim has been checked
            against ``max_bytes``, the size of the file and the other claims.
    """
    with opened(path) as (file, header, where):
        limit = limit_of(header, max_bytes)
        if METADATA_KEY not in header.metadata:
            return Contents(_read_plain(file, header, limit, where), header.metadata)
        manifest, body = read_manifest(file, header, limit, where)
        stored = _read_exactly(file, header.size - header.body - body, where)
    if zlib.crc32(stored.data) != manifest.checksum:
        raise ChecksumError(f"{where}: the streams' checksum is wrong: the file is damaged. Copy it again.")
    return Contents(decode(manifest, stored, where), own_metadata(header))


@contextmanager
def opened(path: str | os.PathLike[str]) -> Generator[tuple[BinaryIO, Header, str]]:
    """Open ``path`` and check its header; yields the file at its body, the header, and words for errors."""
    where = repr(os.fspath(path))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise NotSafetensorsError(
                f"{where}: not a file that can be read whole (a folder, pipe or device)."
            )
        with Path(path).open("rb") as file:
            yield file, read_header(file, where), where
    except OSError as error:
        raise ArtifactError(f"{where}: cannot be read: {error.strerror or error}.") from error


def own_metadata(header: Header) -> dict[str, str]:
    """Return the metadata without the format's own key."""
    return {key: value for key, value in header.metadata.items() if key != METADATA_KEY}


def limit_of(header: Header, max_bytes: int | None) -> int:
    """Return the most bytes that decoding may take."""
    if max_bytes is None:
        return max(_LEAST_LIMIT, _MOST_RATIO * header.size)
    if max_bytes < 0:
        raise SettingError(f"max_bytes must be 0 or more, got {max_bytes}.")
    return max_bytes


def read_manifest(file: BinaryIO, header: Header, limit: int, where: str) -> tuple[Manifest, int]:
    """Return the manifest of a compact file, and the bytes it took; the file is then at its streams."""
    version = header.metadata[METADATA_KEY]
    if version != VERSION:
        raise VersionError(
            f"{where}: format version {version[:20]!r}; this library reads {VERSION!r}. Update it."
        )
    if [(entry.name, entry.dtype) for entry in header.entries] != [(MANIFEST, "U8"), (STREAMS, "U8")]:
        names = [entry.name for entry in header.entries][:20]
        raise HeaderError(
            f"{where}: a compact file has two U8 tensors, {MANIFEST} and {STREAMS}; got {names}."
        )
    size = header.entries[0].end
    manifest = manifest_of(_read_exactly(file, size, where).data, limit, f"{where}: manifest")
    stored = sum(stream.stored for stream in manifest.streams)
    if stored != header.size - header.body - size:
        raise SizeMismatchError(
            f"{where}: the manifest's frames take {stored} bytes, the file holds "
            f"{header.size - header.body - size}."
        )
    return manifest, size


def decode(manifest: Manifest, stored: Bytes, where: str) -> dict[str, Array]:
    """Return the tensors of a checked manifest whose streams' frames are ``stored``."""
    decoded: list[Bytes] = []
    at = 0
    for number, stream in enumerate(manifest.streams):
        view = stored.data[at : at + stream.stored]
        decoded.append(streams.decode(stream, view, f"{where}: stream {number}"))
        at += stream.stored
    used = [0] * len(decoded)  # bytes taken of each stream
    tensors: list[Array] = []
    for row in manifest.rows:
        if row.coding == codings.SAME:
            tensors.append(tensors[row.values])
            continue
        taken: list[Bytes] = []
        for stream, width, elements in row.pieces():
            taken.append(decoded[stream][used[stream] : used[stream] + elements * width])
            used[stream] += elements * width
        tensors.append(_tensor(row, taken, f"{where}: tensor {row.name!r}"))
    return {row.name: tensor for row, tensor in zip(manifest.rows, tensors, strict=True)}


def _tensor(row: Row, taken: list[Bytes], where: str) -> Array:
    values = Array(row.stored, (row.kept,), taken[-1] if row.kept else np.empty(0, np.uint8))
    values = rounding.restored(values, row.dtype, where)
    values.check_content(where)
    if row.coding == codings.DENSE:
        nonzeros = int(np.count_nonzero(values.bits()))
        if nonzeros != row.nonzeros:
            raise SizeMismatchError(f"{where}: {row.nonzeros} nonzeros claimed, {nonzeros} found.")
        return Array(row.dtype, row.shape, values.data)
    array = Array(row.dtype, row.shape, np.zeros(row.nbytes, np.uint8))
    if row.index_bytes:
        codings.SPARSE[row.coding].scatter(taken[0], values.bits(), array.bits(), where)
    return array


def _read_plain(file: BinaryIO, header: Header, limit: int, where: str) -> dict[str, Array]:
    size = header.size - header.body
    if size > limit:
        raise TooLargeError(
            f"{where}: {size} bytes of tensors, the limit is {limit}. Give a larger max_bytes."
        )
    body = _read_exactly(file, size, where)
    tensors = {e.name: Array(e.dtype, e.shape, body[e.begin : e.end]) for e in header.entries}
    for name, array in tensors.items():
        array.check_content(f"{where}: tensor {name!r}")
    return tensors


def _read_exactly(file: BinaryIO, size: int, where: str) -> Bytes:
    """Read ``size`` bytes, which the header has been checked to leave; TruncatedError if the file shrank."""
    data = np.empty(size, np.uint8)
    got = file.readinto(data.data) if size else 0  # pyright: ignore[reportAttributeAccessIssue]
    if got != size:
        raise TruncatedError(f"{where}: {got} of {size} bytes could be read.")
    return data
