"""How the positions of a tensor's nonzeros are written: one module a coding, and no positions at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from featherweight.artifact import bitmask, gap
from featherweight.artifact.array import Bytes
from featherweight.artifact.errors import ManifestError

DENSE = "dense"  # every value is written, zeros too
SAME = "same"  # the tensor is another one, under a second name
_BITMASK_FROM = 0.25  # density at which a bit mask becomes shorter than gaps (measured: bitmask.py)


@dataclass(frozen=True)
class Coding:
    """Positions to bytes (``encode``), and values through these bytes to their places (``scatter``)."""

    encode: Callable[[npt.NDArray[np.int64], int], Bytes]
    length_range: Callable[[int, int], tuple[int, int]]
    decode: Callable[[Bytes, int, int, str], npt.NDArray[np.int64]]
    scatter: Callable[[Bytes, npt.NDArray[Any], npt.NDArray[Any], str], None]


SPARSE = {
    "gap": Coding(gap.encode, gap.length_range, gap.decode, gap.scatter),
    "bitmask": Coding(bitmask.encode, bitmask.length_range, bitmask.decode, bitmask.scatter),
}


def shorter(elements: int, nonzeros: int) -> str:
    """Return the name of the sparse coding that is shorter for such a tensor."""
    return "bitmask" if nonzeros > _BITMASK_FROM * elements else "gap"


def index_length_range(name: str, elements: int, nonzeros: int, where: str) -> tuple[int, int]:
    """Return the least and most bytes that positions can take; ManifestError for an unknown coding."""
    if name == DENSE:
        return 0, 0
    if name not in SPARSE:
        raise ManifestError(
            f"{where}: coding {name!r} is unknown. Known are: dense, same, {', '.join(SPARSE)}."
        )
    return SPARSE[name].length_range(elements, nonzeros)
