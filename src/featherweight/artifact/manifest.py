"""The manifest: what every tensor is and where its parts lie. In columns, which compress well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import zstandard

from featherweight.artifact import codings, frames, rounding, strictjson
from featherweight.artifact.array import DTYPES, checked_nbytes, dtype_of
from featherweight.artifact.errors import ManifestError, SizeMismatchError, TooLargeError
from featherweight.artifact.streams import WIDTHS, Stream, frame_count

MAX_MANIFEST = 32 << 20  # bytes of JSON


@dataclass(frozen=True)
class Row:
    """One tensor.

    Attributes:
        name: unique.
        dtype: what it is restored to.
        shape: sizes.
        stored: what its values are on disk: dtype, or ``"F16"`` or ``"BF16"``.
        coding: ``"dense"``, ``"gap"``, ``"bitmask"``, or ``"same"``: the values are those of an earlier row.
        nonzeros: elements that have a bit set.
        index_bytes: bytes of its positions in the index stream; 0 where there is none.
        index: number of the stream of its positions; 0 where there is none.
        values: number of the stream of its values; for ``"same"`` the number of the row.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    stored: str
    coding: str
    nonzeros: int
    index_bytes: int
    index: int
    values: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return checked_nbytes(self.shape, 1, self.name)

    @property
    def nbytes(self) -> int:
        """Bytes of the restored tensor; 0 for a row that shares another's."""
        return 0 if self.coding == codings.SAME else self.elements * DTYPES[self.dtype].width

    @property
    def kept(self) -> int:
        """Number of values in the value stream."""
        return self.elements if self.coding == codings.DENSE else self.nonzeros


@dataclass(frozen=True)
class Manifest:
    """Rows and streams, and the CRC-32 of all streams' bytes."""

    rows: tuple[Row, ...]
    streams: tuple[Stream, ...]
    checksum: int

    def stored_bytes(self) -> tuple[int, int]:
        """Return the bytes on disk of all positions, and of all values."""
        index = {row.index for row in self.rows if row.index_bytes}
        positions = sum(self.streams[number].stored for number in index)
        return positions, sum(stream.stored for stream in self.streams) - positions

    def to_bytes(self) -> bytes:
        """Return the manifest as a zstd frame with a checksum of its own."""
        table = {
            "checksum": self.checksum,
            "tensors": {column: [getattr(row, column) for row in self.rows] for column in _COLUMNS},
            "streams": {
                column: [getattr(stream, column) for stream in self.streams] for column in _STREAM_COLUMNS
            },
        }
        text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
        parameters = zstandard.ZstdCompressionParameters.from_level(19, write_checksum=True)
        return zstandard.ZstdCompressor(compression_params=parameters).compress(text)

    @classmethod
    def from_bytes(cls, frame: bytes | memoryview, max_bytes: int, where: str) -> Manifest:
        """Read and check a manifest; every size in it is then consistent, the whole within max_bytes."""
        size = frames.frame_size(frame, where)
        if size > min(MAX_MANIFEST, max_bytes):
            raise TooLargeError(f"{where}: says {size} bytes, the most is {min(MAX_MANIFEST, max_bytes)}.")
        return parse(frames.decompress_zstd(frame, size, where), max_bytes, where)


_COLUMNS = [field.name for field in fields(Row)]
_STREAM_COLUMNS = [field.name for field in fields(Stream)]
_TEXT_COLUMNS = ("name", "dtype", "stored", "coding")


def parse(text: bytes, max_bytes: int, where: str) -> Manifest:
    """Return the checked manifest in ``text``; raises a subclass of ArtifactError."""
    table = strictjson.loads(text, ManifestError, where)
    _check_keys(table, ["checksum", "tensors", "streams"], where)
    manifest = Manifest(
        rows=tuple(Row(*values) for values in _zipped(table["tensors"], _COLUMNS, f"{where}: tensors")),
        streams=tuple(
            Stream(*values) for values in _zipped(table["streams"], _STREAM_COLUMNS, f"{where}: streams")
        ),
        checksum=strictjson.whole_number(table["checksum"], ManifestError, f"{where}: checksum"),
    )
    _check_rows(manifest.rows, where)
    _check_streams(manifest.streams, where)
    _check_total(manifest, max_bytes, where)
    _check_pieces(manifest, where)
    return manifest


def _check_keys(table: Any, expected: list[str], where: str) -> None:
    if not isinstance(table, dict) or sorted(table) != sorted(expected):
        got = sorted(table)[:20] if isinstance(table, dict) else type(table).__name__
        raise ManifestError(f"{where}: expected an object with {sorted(expected)}, got {got}.")


def _zipped(table: Any, names: list[str], where: str) -> Iterator[tuple[Any, ...]]:
    _check_keys(table, names, where)
    columns = [_column(name, table[name], f"{where}: {name}") for name in names]
    if len({len(column) for column in columns}) != 1:
        raise ManifestError(f"{where}: columns differ in length: {[len(column) for column in columns]}.")
    return zip(*columns, strict=True)


def _column(name: str, values: Any, where: str) -> tuple[Any, ...]:
    if name in _TEXT_COLUMNS:
        return strictjson.texts(values, ManifestError, where)
    if name not in ("shape", "frames"):
        return strictjson.whole_numbers(values, ManifestError, where)
    if not isinstance(values, list):
        raise ManifestError(f"{where}: expected a list of lists.")
    return tuple(strictjson.whole_numbers(value, ManifestError, where) for value in values)


def _check_rows(rows: tuple[Row, ...], where: str) -> None:
    if len({row.name for row in rows}) != len(rows):
        raise ManifestError(f"{where}: a tensor's name stands twice.")
    for number, row in enumerate(rows):
        at = f"{where}: tensor {row.name!r}"
        checked_nbytes(row.shape, dtype_of(row.dtype, at).width, at)
        dtype_of(row.stored, at)
        rounding.check_restorable(row.stored, row.dtype, at)
        if row.coding == codings.SAME:
            _check_same(row, rows[:number], at)
        else:
            _check_counts(row, at)


def _check_same(row: Row, earlier: tuple[Row, ...], at: str) -> None:
    if row.values >= len(earlier) or earlier[row.values].coding == codings.SAME:
        raise ManifestError(
            f"{at}: shares the values of row {row.values}, which must be earlier and its own."
        )
    other = earlier[row.values]
    if (row.dtype, row.shape, row.stored, row.nonzeros) != (
        other.dtype,
        other.shape,
        other.stored,
        other.nonzeros,
    ):
        raise SizeMismatchError(
            f"{at}: shares the values of {other.name!r} but is not of its dtype and shape."
        )
    if row.index or row.index_bytes:
        raise ManifestError(f"{at}: shares another's values and cannot have positions.")


def _check_counts(row: Row, at: str) -> None:
    if row.nonzeros > row.elements:
        raise SizeMismatchError(f"{at}: {row.nonzeros} nonzeros among {row.elements} elements.")
    least, most = codings.index_length_range(row.coding, row.elements, row.nonzeros, at)
    if not least <= row.index_bytes <= most:
        raise SizeMismatchError(
            f"{at}: {row.index_bytes} bytes of {row.coding} positions for {row.nonzeros} nonzeros of "
            f"{row.elements}; expected {least} to {most}."
        )


def _check_streams(streams: tuple[Stream, ...], where: str) -> None:
    for number, stream in enumerate(streams):
        at = f"{where}: stream {number}"
        if stream.width not in WIDTHS:
            raise ManifestError(f"{at}: width must be one of {WIDTHS}, got {stream.width}.")
        if len(stream.frames) != frame_count(stream.width, stream.elements):
            raise SizeMismatchError(
                f"{at}: {len(stream.frames)} frames for {stream.elements} elements of {stream.width} bytes, "
                f"expected {frame_count(stream.width, stream.elements)}."
            )


def _check_total(manifest: Manifest, max_bytes: int, where: str) -> None:
    total = sum(row.nbytes for row in manifest.rows) + sum(stream.nbytes for stream in manifest.streams)
    if total > max_bytes:
        raise TooLargeError(
            f"{where}: decoding takes {total} bytes, the limit is {max_bytes}. If the file is to be trusted, "
            f"give max_bytes={total} or more."
        )


def _check_pieces(manifest: Manifest, where: str) -> None:
    """The pieces that rows take from each stream must be exactly what the stream holds."""
    taken = [0] * len(manifest.streams)
    for row in manifest.rows:
        for stream, width, elements in pieces(row):
            if stream >= len(taken) or manifest.streams[stream].width != width:
                raise ManifestError(
                    f"{where}: tensor {row.name!r}: there is no stream {stream} of {width} bytes."
                )
            taken[stream] += elements
    for number, (stream, used) in enumerate(zip(manifest.streams, taken, strict=True)):
        if stream.elements != used:
            raise SizeMismatchError(
                f"{where}: stream {number} has {stream.elements} elements, its tensors take {used}."
            )


def pieces(row: Row) -> list[tuple[int, int, int]]:
    """Return what a row takes: (stream, bytes per element, elements), positions first, none empty."""
    if row.coding == codings.SAME:
        return []
    parts = [(row.index, 1, row.index_bytes), (row.values, DTYPES[row.stored].width, row.kept)]
    return [part for part in parts if part[2]]
