"""The manifest: what every tensor is and where its parts lie. In columns, which compress well."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields

import zstandard

from featherweight.artifact import codings
from featherweight.artifact.array import DTYPES, checked_nbytes
from featherweight.artifact.streams import Stream


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

    def pieces(self) -> list[tuple[int, int, int]]:
        """Return what it takes: (stream, bytes per element, elements), positions first, none empty."""
        if self.coding == codings.SAME:
            return []
        width = DTYPES[self.stored].width
        parts = [(self.index, 1, self.index_bytes), (self.values, width, self.kept)]
        return [part for part in parts if part[2]]

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
            "tensors": {column: [getattr(row, column) for row in self.rows] for column in COLUMNS},
            "streams": {
                column: [getattr(stream, column) for stream in self.streams] for column in STREAM_COLUMNS
            },
        }
        text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
        parameters = zstandard.ZstdCompressionParameters.from_level(19, write_checksum=True)
        return zstandard.ZstdCompressor(compression_params=parameters).compress(text)


COLUMNS = [field.name for field in fields(Row)]
STREAM_COLUMNS = [field.name for field in fields(Stream)]
