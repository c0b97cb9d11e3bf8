"""Counting parameters."""

from __future__ import annotations

import torch
from torch import nn

from featherweight.core.prunable import unwrap


def count_params(model: nn.Module, nonzero: bool = True) -> int:
    """Return the number of parameters of ``model`` that are not zero, or of all with ``nonzero=False``.

    Every parameter counts (weights, biases, norms, embeddings), a tied one once; buffers do not.
    """
    parameters = unwrap(model).parameters()
    if nonzero:
        return sum(int(torch.count_nonzero(p.detach())) for p in parameters)
    return sum(p.numel() for p in parameters)
