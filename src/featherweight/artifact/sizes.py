"""The same tensors under each way of writing them, in bytes: what the picture "bytes by coding" shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from featherweight.artifact import parts, rounding
from featherweight.artifact.array import Array

_COORDINATE = 4  # bytes of a CSR column index and of a row pointer


@dataclass(frozen=True)
class CodingSize:
    """Bytes of all tensors under one coding; names, shapes and headers are not counted.

    Attributes:
        coding: ``"dense"``, ``"csr32"``, ``"bitmask"`` or ``"gap+zstd"`` (what ``write`` writes).
        values: ``"fp32"`` or ``"fp16"``.
        index_bytes: positions of the nonzeros.
        value_bytes: values, those of tensors that are not sparse included.
    """

    coding: str
    values: str
    index_bytes: int
    value_bytes: int

    @property
    def total_bytes(self) -> int:
        """Bytes in all."""
        return self.index_bytes + self.value_bytes


def coding_sizes(tensors: Mapping[str, Array]) -> tuple[CodingSize, ...]:
    """Return the size of ``tensors`` under each coding, with fp32 and with fp16 values.

    In every coding but ``"dense"`` a tensor is written dense where that is shorter. A tensor of more than two
    dimensions is a CSR matrix of its first dimension by all others. One Array under two names counts once.
    """
    unique = list({id(array): array for array in tensors.values()}.values())
    return tuple(size for values in ("fp32", "fp16") for size in _sizes(unique, values))


def _sizes(arrays: list[Array], values: rounding.Values) -> Iterator[CodingSize]:
    stored = [rounding.rounded(array, values, weight=len(array.shape) > 1) for array in arrays]
    nonzeros = [int(np.count_nonzero(array.bits())) for array in stored]
    yield CodingSize("dense", values, 0, sum(array.data.size for array in stored))
    for coding, index_of in (("csr32", _csr_index), ("bitmask", _bitmask_index)):
        index = value = 0
        for array, kept in zip(stored, nonzeros, strict=True):
            sparse = (index_of(array, kept), kept * array.width)
            index_bytes, value_bytes = sparse if sum(sparse) < array.data.size else (0, array.data.size)
            index, value = index + index_bytes, value + value_bytes
        yield CodingSize(coding, values, index, value)
    yield _compact(arrays, values)


def _csr_index(array: Array, kept: int) -> int:
    rows = array.shape[0] if array.shape else 1
    return _COORDINATE * (kept + rows + 1)


def _bitmask_index(array: Array, kept: int) -> int:
    return -(-array.elements // 8)


def _compact(arrays: list[Array], values: rounding.Values) -> CodingSize:
    manifest = parts.build({str(number): array for number, array in enumerate(arrays)}, values).manifest
    return CodingSize("gap+zstd", values, *manifest.stored_bytes())
