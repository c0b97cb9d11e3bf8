"""Fewer bits per value on disk: fp16 and bf16, and back.

A tensor is only rounded where no value is lost by it:

- a finite value that would become infinite keeps the whole tensor as it is;
- a nonzero never becomes zero. In a tensor of one dimension or none (biases, norms, running variances:
  numbers that are divided by) such a value keeps the tensor as it is. In a weight of two and more
  dimensions, whose products are summed, it becomes the smallest number of the type with its sign (2**-24 in
  fp16): an error of no more than the type's own step there, while one such weight in a million would
  otherwise forbid fp16 for the whole tensor.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from featherweight.artifact.array import DTYPES, Array
from featherweight.artifact.errors import DtypeError
from featherweight.errors import SettingError

Values = Literal["fp32", "fp16", "bf16"]
_STORED = {"fp32": None, "fp16": "F16", "bf16": "BF16"}
_WIDE = ("F32", "F64")  # what is rounded; narrower and whole numbers stay


def check_values(values: str) -> None:
    """Raise SettingError unless ``values`` is one of the choices."""
    if values not in _STORED:
        raise SettingError(f"values must be one of {', '.join(_STORED)}, got {values!r}.")


def rounded(array: Array, values: Values, *, weight: bool) -> Array:
    """Return ``array`` in the type that ``values`` names, or itself where that would lose a value.

    ``weight`` says that it is of a tensor of two and more dimensions. Zeros stay zeros and nonzeros nonzeros,
    so that rounding some elements of a tensor is the same as rounding all.
    """
    target = _STORED[values]
    if target is None or array.dtype not in _WIDE:
        return array
    wide = array.numpy().reshape(-1)
    narrow = _narrow(wide, target)
    if bool(np.any(np.isfinite(wide) & ~np.isfinite(_wide(narrow, target)))):
        return array
    lost = (wide != 0) & ((narrow & 0x7FFF) == 0)
    if bool(lost.any()):
        if not weight:
            return array
        narrow[lost] |= 1
    return Array(target, array.shape, narrow.view(np.uint8))


def restored(array: Array, dtype: str, where: str) -> Array:
    """Return ``array`` in ``dtype``, exactly; raises DtypeError where that is no widening that we write."""
    if array.dtype == dtype:
        return array
    check_restorable(array.dtype, dtype, where)
    wide = _wide(array.bits(), array.dtype).astype(DTYPES[dtype].numpy)
    return Array(dtype, array.shape, wide.view(np.uint8))


def check_restorable(stored: str, dtype: str, where: str) -> None:
    """Raise DtypeError unless ``dtype`` values may be stored as ``stored``."""
    if stored != dtype and not (stored in ("F16", "BF16") and dtype in _WIDE):
        raise DtypeError(
            f"{where}: {dtype} values cannot be stored as {stored}; only F32 and F64 are rounded."
        )


def _narrow(wide: npt.NDArray[Any], target: str) -> npt.NDArray[np.uint16]:
    """Round to nearest even; NaN stays NaN. Returns bits (n,) uint16."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if target == "F16":
            return wide.astype("<f2").view("<u2")
        bits = wide.astype("<f4").view("<u4")
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 0x40
    nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return np.where(nan, quiet, nearest).astype("<u2")


def _wide(bits: npt.NDArray[Any], stored: str) -> npt.NDArray[Any]:
    if stored == "F16":
        with np.errstate(invalid="ignore"):
            return bits.view("<f2").astype("<f4")
    return (bits.astype("<u4") << 16).view("<f4")
