"""A manifest from a stranger: read, and every claim in it held against every other before any is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from featherweight.artifact import codings, frames, rounding, strictjson
from featherweight.artifact.array import checked_nbytes, dtype_of
from featherweight.artifact.errors import ManifestError, SizeMismatchError, TooLargeError
from featherweight.artifact.manifest import COLUMNS, STREAM_COLUMNS, Manifest, Row
from featherweight.artifact.streams import WIDTHS, Stream, frame_count

MAX_MANIFEST = 32 << 20  # bytes of JSON
_TEXT_COLUMNS = ("name", "dtype", "stored", "coding")


def manifest_of(frame: bytes | memoryview, max_bytes: int, where: str) -> Manifest:
    """Read and check a manifest; every size in it is then consistent, the whole within ``max_bytes``.

    Raises a subclass of ArtifactError for each way in which it can be wrong.
    """
    size = frames.frame_size(frame, where)
    if size > min(MAX_MANIFEST, max_bytes):
        raise TooLargeError(f"{where}: says {size} bytes, the most is {min(MAX_MANIFEST, max_bytes)}.")
    return parse(frames.decompress_zstd(frame, size, where), max_bytes, where)


def parse(text: bytes, max_bytes: int, where: str) -> Manifest:
    """Return the checked manifest in ``text``; raises a subclass of ArtifactError."""
    table = strictjson.loads(text, ManifestError, where)
    _check_keys(table, ["checksum", "tensors", "streams"], where)
    manifest = Manifest(
        rows=tuple(Row(*values) for values in _zipped(table["tensors"], COLUMNS, f"{where}: tensors")),
        streams=tuple(
            Stream(*values) for values in _zipped(table["streams"], STREAM_COLUMNS, f"{where}: streams")
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
            _check_same(number, rows, at)
        else:
            _check_counts(row, at)


def _check_same(number: int, rows: tuple[Row, ...], at: str) -> None:
    row = rows[number]
    if row.values >= number or rows[row.values].coding == codings.SAME:
        raise ManifestError(
            f"{at}: shares the values of row {row.values}, which must be earlier and its own."
        )
    other = rows[row.values]
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
        for stream, width, elements in row.pieces():
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
