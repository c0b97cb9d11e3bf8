"""Reader for the IDX format of MNIST and its kin (http://yann.lecun.com/exdb/mnist, bottom of the page)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from featherweight.errors import DataError

_HEADER_BYTES = {1: 8, 3: 16}


def read_idx(path: Path) -> Tensor:
    """Return the uint8 tensor in an idx or idx.gz file; raises DataError naming the file and the fault."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}. Delete it and load again.") from error
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or raw[3] not in _HEADER_BYTES:
        raise DataError(
            f"{path} is not an idx file of bytes in 1 or 3 dimensions: it starts with {raw[:4]!r}."
        )
    dims, header = raw[3], _HEADER_BYTES[raw[3]]
    shape = np.frombuffer(raw[4:header], ">u4").astype(int)
    expected = header + int(shape.prod())
    if len(shape) != dims or len(raw) != expected:
        raise DataError(f"{path} holds {len(raw)} bytes, expected {expected} for shape {tuple(shape)}.")
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy())
