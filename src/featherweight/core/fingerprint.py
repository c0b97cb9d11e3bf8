"""What tells one network, or one set of batches, from another."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from featherweight.core.batches import tensors_in


def fingerprint(model: nn.Module) -> str:
    """Return 32 hexadecimal digits that differ where the class, or any weight or buffer, does."""
    digest = hashlib.sha256(type(model).__qualname__.encode())
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            _add(digest, name, value)
        else:  # what a module keeps by get_extra_state
            digest.update(f"\n{name} {value!r}\n".encode())
    return digest.hexdigest()[:32]


def fingerprint_of_batches(batches: Any) -> str:
    """Return 32 hexadecimal digits that differ where a tensor in ``batches`` does.

    Of sparse and nested tensors only the type counts, and what is no tensor does not.
    """
    digest = hashlib.sha256()
    for number, tensor in enumerate(tensors_in(batches)):
        if tensor.is_nested or tensor.layout is not torch.strided:
            digest.update(f"\n{number} {tensor.dtype} {tensor.layout}\n".encode())
        else:
            _add(digest, str(number), tensor)
    return digest.hexdigest()[:32]


def _add(digest: Any, name: str, value: torch.Tensor) -> None:
    digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
    digest.update(_bytes(value))


def _bytes(value: torch.Tensor) -> memoryview:
    flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
