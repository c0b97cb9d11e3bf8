"""Arrays to the parts of a compact file: rows, streams and frames, all in memory."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from featherweight.artifact import codings, grouping, rounding, streams
from featherweight.artifact.array import Array, Bytes
from featherweight.artifact.grouping import Piece
from featherweight.artifact.manifest import Manifest, Row
from featherweight.artifact.streams import Stream


@dataclass(frozen=True)
class Parts:
    """Everything that is written: the manifest, and the bytes of all frames in order."""

    manifest: Manifest
    frames: tuple[bytes, ...]
    negative_zeros: int


@dataclass(frozen=True)
class _Split:
    """One tensor taken apart; ``row`` does not know its streams yet."""

    row: Row
    index: Bytes
    values: npt.NDArray[Any]  # (kept,) unsigned
    counts: grouping.Histogram


def build(tensors: Mapping[str, Array], values: rounding.Values) -> Parts:
    """Take ``tensors`` apart; one Array given under two names is written once."""
    splits: dict[int, _Split] = {}
    numbers: dict[int, int] = {}
    rows: list[Row] = []
    for number, (name, array) in enumerate(tensors.items()):
        if id(array) in numbers:
            first = rows[numbers[id(array)]]
            rows.append(
                replace(first, name=name, coding=codings.SAME, values=numbers[id(array)], index_bytes=0)
            )
            continue
        numbers[id(array)] = number
        splits[number] = _split(name, array, values)
        rows.append(splits[number].row)
    made, frames = _fill_streams(rows, splits)
    checksum = 0
    for frame in frames:
        checksum = zlib.crc32(frame, checksum)
    negative = sum(_negative_zeros(split) for split in splits.values())
    return Parts(Manifest(tuple(rows), tuple(made), checksum), tuple(frames), negative)


def _split(name: str, array: Array, values: rounding.Values) -> _Split:
    bits = array.bits()
    positions = np.flatnonzero(bits)
    kept = bits[positions] if positions.size < bits.size else bits
    flat = Array(array.dtype, (kept.size,), kept.view(np.uint8))
    stored = rounding.rounded(flat, values, weight=len(array.shape) > 1)
    sparse = grouping.histogram(stored.data, stored.width)
    dense = sparse.copy()
    dense[:, 0] += bits.size - positions.size
    coding = _coding(bits.size, positions.size, grouping.cost(sparse), grouping.cost(dense))
    row = Row(name, array.dtype, array.shape, stored.dtype, coding, positions.size, 0, 0, 0)
    if coding == codings.DENSE:
        return _Split(row, np.empty(0, np.uint8), _spread(stored.bits(), positions, bits.size), dense)
    index = codings.SPARSE[coding].encode(positions, bits.size)
    return _Split(replace(row, index_bytes=index.size), index, stored.bits(), sparse)


def _spread(kept: npt.NDArray[Any], positions: npt.NDArray[np.int64], elements: int) -> npt.NDArray[Any]:
    """Return all ``elements`` of a tensor whose nonzeros are ``kept``."""
    if kept.size == elements:
        return kept
    dense = np.zeros(elements, kept.dtype)
    dense[positions] = kept
    return dense


def _coding(elements: int, nonzeros: int, sparse_cost: float, dense_cost: float) -> str:
    """Choose by estimate: entropy of positions and kept values against that of all values."""
    if nonzeros == elements:
        return codings.DENSE
    index_cost = entropy_limit(elements, nonzeros) / 8 + (grouping.FRAME if nonzeros else 0)
    return codings.shorter(elements, nonzeros) if index_cost + sparse_cost < dense_cost else codings.DENSE


def entropy_limit(elements: int, nonzeros: int) -> float:
    """Return log2 C(elements, nonzeros), the bits that naming the positions takes, by Stirling's series."""
    return max(
        0.0, _log2_factorial(elements) - _log2_factorial(nonzeros) - _log2_factorial(elements - nonzeros)
    )


def _log2_factorial(n: int) -> float:
    return math.lgamma(n + 1) / math.log(2)


def _fill_streams(rows: list[Row], splits: Mapping[int, _Split]) -> tuple[list[Stream], list[bytes]]:
    """Group the pieces into streams and code them; the rows learn the numbers of their streams."""
    made: list[Stream] = []
    frames: list[bytes] = []
    for column, kind in _kinds(rows, splits):
        for group in grouping.grouped(kind):
            for piece in group:
                rows[piece.tensor] = replace(rows[piece.tensor], **{column: len(made)})
            data = np.concatenate([piece.data for piece in group])
            coded = streams.encode(data, group[0].width)
            made.append(Stream(group[0].width, data.size // group[0].width, tuple(map(len, coded))))
            frames += coded
    return made, frames


def _kinds(rows: Sequence[Row], splits: Mapping[int, _Split]) -> list[tuple[str, list[Piece]]]:
    """Return pieces that may share a stream: positions of one coding, values of one dtype."""
    kinds: dict[tuple[str, str], list[Piece]] = {}
    for number, split in splits.items():
        row = rows[number]
        if split.index.size:
            density = row.nonzeros / row.elements
            counts = grouping.histogram(split.index, 1)
            kinds.setdefault(("index", row.coding), []).append(Piece(number, 1, density, split.index, counts))
        if split.values.size:
            key = grouping.key_of(split.counts)
            data = np.ascontiguousarray(split.values).view(np.uint8)
            piece = Piece(number, split.values.itemsize, key, data, split.counts)
            kinds.setdefault(("values", row.stored), []).append(piece)
    return [(column, pieces) for (column, _), pieces in kinds.items()]


def _negative_zeros(split: _Split) -> int:
    """Count -0.0 among the values: a bit is set, so each is kept as a value."""
    if split.row.stored not in ("F16", "BF16", "F32", "F64"):
        return 0
    sign = 1 << (8 * split.values.itemsize - 1)
    return int(np.count_nonzero(split.values == split.values.dtype.type(sign)))
