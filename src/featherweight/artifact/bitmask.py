"""One bit per element, 1 where a value stands; the first element is the lowest bit of the first byte.

Shorter than gaps where more than about a quarter is kept: there a gap costs under three bits, and a Huffman
code of whole bits loses up to a tenth, while eight elements at once lose nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from featherweight.artifact.array import Bytes
from featherweight.artifact.errors import PositionError


def encode(positions: npt.NDArray[np.int64], elements: int) -> Bytes:
    """Return the bit mask (ceil(elements / 8),) uint8 of ascending ``positions`` among ``elements``."""
    mask = np.zeros(elements, np.uint8)
    mask[positions] = 1
    return np.packbits(mask, bitorder="little")


def length_range(elements: int, nonzeros: int) -> tuple[int, int]:
    """Return the least and most bytes of the mask: always ceil(elements / 8)."""
    length = -(-elements // 8)
    return length, length


def decode(mask: Bytes, elements: int, nonzeros: int, where: str) -> npt.NDArray[np.int64]:
    """Return the positions (nonzeros,) in ``mask``; raises PositionError for stray bits or a wrong count."""
    positions = np.flatnonzero(np.unpackbits(mask, bitorder="little"))
    if positions.size != nonzeros or (positions.size and positions[-1] >= elements):
        raise PositionError(
            f"{where}: expected {nonzeros} bits set, all of the first {elements}, got {positions.size} up to "
            f"bit {int(positions[-1]) if positions.size else -1}. The file is damaged."
        )
    return positions


def scatter(mask: Bytes, values: npt.NDArray[Any], out: npt.NDArray[Any], where: str) -> None:
    """Put ``values`` (nonzeros,) at the set positions of ``out`` (elements,); raises PositionError."""
    out[decode(mask, out.size, values.size, where)] = values
