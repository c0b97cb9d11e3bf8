"""Reader for the IDX format of MNIST and its kin (http://yann.lecun.com/exdb/mnist, bottom of the page)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from featherweight.errors import DataError

_HEADER_BYTES = {1: 8, 3: 16}


def parse_idx(raw: bytes, path: Path | str) -> Tensor:
    """Return the uint8 tensor that the uncompressed content of an idx file holds.

    Args:
        raw: the content: 0, 0, 8 (bytes), the number of dimensions, their sizes, the values.
        path: where it is from, for errors.

    Raises:
        DataError: it is not an idx file of bytes in 1 or 3 dimensions, or is cut or too long.
    """
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or raw[3] not in _HEADER_BYTES:
        raise DataError(
            f"{path} is not an idx file of bytes in 1 or 3 dimensions: it starts with {raw[:4]!r}, expected "
            f"{bytes((0, 0, 8, 1))!r} or {bytes((0, 0, 8, 3))!r}. Delete it and load again."
        )
    dims, header = raw[3], _HEADER_BYTES[raw[3]]
    if len(raw) < header:
        raise DataError(f"{path} ends inside its header of {header} bytes. Delete it and load again.")
    shape = [int(size) for size in np.frombuffer(raw, ">u4", count=dims, offset=4)]
    expected = header + int(np.prod(shape, dtype=object))
    if len(raw) != expected:
        raise DataError(
            f"{path} holds {len(raw)} bytes, expected {expected} for shape {tuple(shape)}. "
            f"Delete it and load again."
        )
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy())
