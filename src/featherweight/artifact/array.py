"""A tensor without a framework: dtype name, shape, bytes. NumPy alone has no bfloat16 and no 8-bit floats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from featherweight.artifact.errors import ContentError, DtypeError, SizeMismatchError

Bytes = npt.NDArray[np.uint8]
MAX_DIMENSIONS = 32  # NumPy 1's limit
MAX_BYTES = 2**63 - 1


@dataclass(frozen=True)
class Dtype:
    """A dtype of the safetensors format; ``numpy`` is None where NumPy has no such type."""

    name: str
    width: int  # bytes
    numpy: str | None
    floating: bool = False


DTYPES = {
    dtype.name: dtype
    for dtype in (
        Dtype("BOOL", 1, "?"),
        Dtype("U8", 1, "u1"),
        Dtype("I8", 1, "i1"),
        Dtype("U16", 2, "<u2"),
        Dtype("I16", 2, "<i2"),
        Dtype("U32", 4, "<u4"),
        Dtype("I32", 4, "<i4"),
        Dtype("U64", 8, "<u8"),
        Dtype("I64", 8, "<i8"),
        Dtype("F8_E4M3", 1, None, floating=True),
        Dtype("F8_E5M2", 1, None, floating=True),
        Dtype("BF16", 2, None, floating=True),
        Dtype("F16", 2, "<f2", floating=True),
        Dtype("F32", 4, "<f4", floating=True),
        Dtype("F64", 8, "<f8", floating=True),
        Dtype("C64", 8, "<c8"),
    )
}
_NAMES = {np.dtype(dtype.numpy).str: dtype.name for dtype in DTYPES.values() if dtype.numpy}


def dtype_of(name: str, where: str) -> Dtype:
    """Return the dtype called ``name``; raises DtypeError that says ``where`` it was met."""
    try:
        return DTYPES[name]
    except (KeyError, TypeError):
        raise DtypeError(f"{where}: dtype {name!r} is unknown. Known are: {', '.join(DTYPES)}.") from None


def checked_nbytes(shape: Sequence[int], width: int, where: str) -> int:
    """Return the bytes of ``shape`` at ``width`` bytes each; raises SizeMismatchError if they cannot be."""
    if len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise SizeMismatchError(
            f"{where}: shape {list(shape)[:40]} must have at most {MAX_DIMENSIONS} sizes, none negative."
        )
    if math.prod(max(size, 1) for size in shape) * width > MAX_BYTES:
        raise SizeMismatchError(f"{where}: shape {list(shape)} times {width} bytes overflows 63 bits.")
    return math.prod(shape) * width


@dataclass(frozen=True, eq=False)
class Array:
    """Values of one tensor in C order, little endian.

    Attributes:
        dtype: a name of the safetensors format: ``"F32"``, ``"BF16"``, ``"I64"``, ...
        shape: sizes; ``()`` for a scalar.
        data: the bytes, ``(elements * width,)`` uint8, contiguous.

    Raises:
        DtypeError: ``dtype`` is unknown.
        SizeMismatchError: ``data`` has not as many bytes as dtype and shape say.
    """

    dtype: str
    shape: tuple[int, ...]
    data: Bytes = field(repr=False)

    def __post_init__(self) -> None:
        expected = checked_nbytes(self.shape, dtype_of(self.dtype, "Array").width, "Array")
        if self.data.dtype != np.uint8 or self.data.shape != (expected,) or not self.data.flags.c_contiguous:
            raise SizeMismatchError(
                f"Array of {self.dtype} {list(self.shape)} needs {expected} contiguous uint8, "
                f"got {self.data.dtype} {list(self.data.shape)}."
            )

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> Array:
        """Make an Array of a NumPy array of any layout (no copy if it is in C order already)."""
        little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        name = _NAMES.get(little.dtype.str)
        if name is None:
            raise DtypeError(
                f"Array.of: NumPy dtype {values.dtype} has no counterpart in a safetensors file."
            )
        return cls(name, tuple(values.shape), little.reshape(-1).view(np.uint8))

    @property
    def width(self) -> int:
        """Bytes per element."""
        return DTYPES[self.dtype].width

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def bits(self) -> npt.NDArray[Any]:
        """Return the elements as unsigned integers of the same width, ``(elements,)``; a view."""
        return self.data.view(f"<u{self.width}")

    def numpy(self) -> npt.NDArray[Any]:
        """Return a view as a NumPy array of ``shape``; raises DtypeError for dtypes that NumPy lacks."""
        name = DTYPES[self.dtype].numpy
        if name is None:
            raise DtypeError(
                f"NumPy has no {self.dtype}. Use bits(), or featherweight.load for torch tensors."
            )
        return self.data.view(name).reshape(self.shape)

    def check_content(self, where: str) -> None:
        """Raise ContentError for bytes that are no value of the dtype (a bool that is neither 0 nor 1)."""
        if self.dtype == "BOOL" and self.data.size and int(self.data.max()) > 1:
            raise ContentError(
                f"{where}: a BOOL must be 0 or 1, got {int(self.data.max())}. The file is damaged."
            )
