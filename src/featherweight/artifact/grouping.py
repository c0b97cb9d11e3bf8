"""Which pieces share a stream.

One Huffman table for pieces of unlike distribution (densities of 2% and 40%; weights and variances) costs
bits for each symbol; one table for each piece costs a table. Pieces of like kind are put in order of a key
and neighbours are merged as long as that makes the estimated total smaller:

    cost(group) = sum over planes of (entropy of the plane's bytes) + table
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from featherweight.artifact.array import Bytes

FRAME = 16.0  # bytes: a frame's own header, and its length in the manifest
_PER_SYMBOL = 0.45  # bytes of Huffman table for each distinct symbol

Histogram = npt.NDArray[np.int64]  # (planes, 256)


@dataclass(frozen=True)
class Piece:
    """What one tensor gives to a stream: ``elements`` of ``width`` bytes each, in ``data`` (bytes,) uint8."""

    tensor: int
    width: int
    key: float
    data: Bytes
    histogram: Histogram


def histogram(data: Bytes, width: int) -> Histogram:
    """Count the bytes of each plane of elements of ``width`` bytes: (width, 256)."""
    planes = data.reshape(-1, width)
    return np.stack([np.bincount(planes[:, plane], minlength=256) for plane in range(width)])


def cost(counts: Histogram) -> float:
    """Return the estimated bytes of a stream with these counts."""
    totals = counts.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(counts > 0, counts * np.log2(totals / np.maximum(counts, 1)), 0.0)
    distinct = (counts > 0).sum(axis=1)
    table = np.where(distinct > 1, FRAME + _PER_SYMBOL * distinct, 1.0)
    return float((np.minimum(bits.sum(axis=1) / 8 + table, totals[:, 0])).sum())


def grouped(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Split pieces of one kind and width into groups, each in order of tensor."""
    groups = [[piece] for piece in sorted(pieces, key=lambda piece: (piece.key, piece.tensor))]
    counts = [group[0].histogram for group in groups]
    costs = [cost(count) for count in counts]
    savings = [_saving(counts, costs, i) for i in range(len(groups) - 1)]
    while savings and max(savings) > 0:
        i = savings.index(max(savings))
        groups[i] += groups.pop(i + 1)
        counts[i] = counts[i] + counts.pop(i + 1)
        costs[i] = cost(counts[i])
        del costs[i + 1], savings[i]
        for j in (i - 1, i):
            if 0 <= j < len(savings):
                savings[j] = _saving(counts, costs, j)
    return [sorted(group, key=lambda piece: piece.tensor) for group in groups]


def _saving(counts: list[Histogram], costs: list[float], i: int) -> float:
    return costs[i] + costs[i + 1] - cost(counts[i] + counts[i + 1])


def key_of(counts: Histogram) -> float:
    """Return what values are put in order by: the mean of their top byte without the sign."""
    top: npt.NDArray[Any] = counts[-1].reshape(2, 128).sum(axis=0)
    return float(top @ np.arange(128) / max(int(top.sum()), 1))
