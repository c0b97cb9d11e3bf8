"""Counting parameters."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from featherweight.core.prunable import unwrap
from featherweight.errors import ModelError


def count_params(model: nn.Module, nonzero: bool = True) -> int:
    """Return the number of parameters of ``model`` that are not zero, or of all with ``nonzero=False``.

    Every parameter counts (weights, biases, norms, embeddings), a tied one once; buffers do not.

    Raises:
        ModelError: parameters have no values yet (lazy ones; with ``nonzero``, those on the meta device too).
    """
    inner = unwrap(model)
    check_has_values(inner, meta=not nonzero)
    if nonzero:
        return sum(int(torch.count_nonzero(p.detach())) for p in inner.parameters())
    return sum(p.numel() for p in inner.parameters())


def check_has_values(model: nn.Module, *, meta: bool = False) -> None:
    """Raise ModelError if a parameter has no values; with ``meta``, only if it has not even a shape."""
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ModelError(
                f"Parameter {name!r} has no shape yet (a lazy module): run the model once first."
            )
        if parameter.is_meta and not meta:
            raise ModelError(
                f"Parameter {name!r} is on the meta device and has no values: load weights, or count all "
                f"parameters with count_params(model, nonzero=False)."
            )
