"""Products of float32 matrices as exact as float32 is, whatever the user allows elsewhere."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

# Of torch 2.9 on each backend has a precision of its own; before, there is one for all.
_BACKENDS: tuple[Any, ...] = tuple(
    backend
    for backend in (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
    if hasattr(backend, "fp32_precision")
)


@contextmanager
def full_precision(device: torch.device) -> Generator[None]:
    """Multiply in full precision within the block: neither TF32, nor bfloat16, nor autocast.

    A Hessian of TF32 products has ten bits: its small eigenvalues, by which weights are compensated, are
    lost.
    """
    with torch.autocast(device.type, enabled=False), _ieee():
        yield


@contextmanager
def _ieee() -> Generator[None]:
    before = torch.get_float32_matmul_precision() if not _BACKENDS else ""
    each = [backend.fp32_precision for backend in _BACKENDS]
    try:
        for backend in _BACKENDS:
            backend.fp32_precision = "ieee"
        if not _BACKENDS:
            torch.set_float32_matmul_precision("highest")
        yield
    finally:
        for backend, precision in zip(_BACKENDS, each, strict=True):
            backend.fp32_precision = precision
        if not _BACKENDS:
            torch.set_float32_matmul_precision(before)
