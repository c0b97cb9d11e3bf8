"""The gap coding of the positions of nonzeros, its NumPy reference, and the native decode loop where built.

With position[-1] = -1: a byte b < 255 says that a value stands at ``position + 1 + b``; 255 says that 255
elements without a value follow (``position += 255``). Positions are strictly ascending by construction. At
density d a gap has entropy H(d)/d bits, so an order-0 code of the gaps reaches the entropy limit of the mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from featherweight.artifact.array import Bytes
from featherweight.artifact.errors import PositionError

try:
    from featherweight import _native  # pyright: ignore[reportMissingModuleSource]
except ImportError:  # not built for this machine: the reference below does the same, slower
    _native = None

ESCAPE = 255
Positions = npt.NDArray[np.int64]

# Statuses of the native loop (native/formats/gap.h); the reference gives the same.
OK, OUT_OF_RANGE, TOO_MANY, TOO_FEW, OPEN_ESCAPE = range(5)
_MEANING = {
    OUT_OF_RANGE: "a position is beyond the last element",
    TOO_MANY: "there are more positions than nonzeros",
    TOO_FEW: "there are fewer positions than nonzeros",
    OPEN_ESCAPE: "the last gap is an escape that no value follows",
}


def encode(positions: Positions, elements: int) -> Bytes:
    """Return the gaps of ascending ``positions`` (nonzeros,), uint8; ``elements`` is not needed to encode."""
    gaps = np.diff(positions, prepend=-1) - 1
    escapes = gaps // ESCAPE
    if not escapes.any():
        return gaps.astype(np.uint8)
    coded = np.full(gaps.size + int(escapes.sum()), ESCAPE, np.uint8)
    coded[np.cumsum(escapes + 1) - 1] = gaps % ESCAPE
    return coded


def length_range(elements: int, nonzeros: int) -> tuple[int, int]:
    """Return the least and most bytes that gaps of ``nonzeros`` positions among ``elements`` can take."""
    return nonzeros, nonzeros + (elements // ESCAPE if nonzeros else 0)


def decode(gaps: Bytes, elements: int, nonzeros: int, where: str) -> Positions:
    """Return the positions (nonzeros,) that ``gaps`` code; raises PositionError if they cannot be."""
    if _native is None:
        status, positions = reference_positions(gaps, elements, nonzeros)
    else:
        positions = np.empty(nonzeros, np.int64)
        status = _native.gap_positions(gaps, elements, positions)
    _check(status, where, elements, nonzeros)
    return positions


def scatter(gaps: Bytes, values: npt.NDArray[Any], out: npt.NDArray[Any], where: str) -> None:
    """Put ``values`` (nonzeros,) at the coded positions of ``out`` (elements,), which holds zeros.

    Both are unsigned integers of the same width. Raises PositionError, and then ``out`` is unspecified.
    """
    if _native is None:
        out[decode(gaps, out.size, values.size, where)] = values
        return
    status = _native.gap_scatter(gaps, values.view(np.uint8), out.itemsize, out.view(np.uint8))
    _check(status, where, out.size, values.size)


def reference_positions(gaps: Bytes, elements: int, nonzeros: int) -> tuple[int, Positions]:
    """Return the status and the positions in plain NumPy: what the native loop must do.

    The first thing wrong along the stream decides the status, as in a loop.
    """
    value = gaps != ESCAPE
    after = np.cumsum(gaps.astype(np.int64) + value)  # elements passed after each byte
    beyond = np.flatnonzero(after - value >= elements)
    surplus = np.flatnonzero(value)[nonzeros : nonzeros + 1]
    positions = (after - 1)[value]
    first_beyond, first_surplus = (int(w[0]) if w.size else gaps.size for w in (beyond, surplus))
    if min(first_beyond, first_surplus) < gaps.size:
        return (OUT_OF_RANGE if first_beyond <= first_surplus else TOO_MANY), positions
    if positions.size < nonzeros:
        return TOO_FEW, positions
    return (OPEN_ESCAPE if gaps.size and not value[-1] else OK), positions


def _check(status: int, where: str, elements: int, nonzeros: int) -> None:
    if status != OK:
        meaning = _MEANING.get(status, f"status {status}")
        raise PositionError(
            f"{where}: {meaning} ({nonzeros} nonzeros of {elements} elements expected). The file is damaged."
        )


def is_native() -> bool:
    """Whether the native decode loop is built for this machine; without it the reference does the same."""
    return _native is not None
