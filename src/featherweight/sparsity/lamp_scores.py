"""Magnitude normalised by layer (Lee, Park, Mo, Ahn, Shin 2021, https://arxiv.org/abs/2010.07611).

``LAMP(w_i) = w_i^2 / sum of w_j^2 over all |w_j| >= |w_i| in the layer``. The largest weight of a layer
scores 1, so that with one threshold for the whole network no layer is emptied before all others.
"""

from __future__ import annotations

import torch
from torch import Tensor


def lamp_scores(scores: Tensor) -> Tensor:
    """Return the LAMP scores of one layer, float64, in its shape; of equal entries, the first scores most.

    Args:
        scores: magnitudes, or what stands for them; what is below 0 scores 0. Entries of -inf are dead, and
            stay -inf.
    """
    flat = scores.reshape(-1).double()
    order = flat.argsort(descending=True, stable=True)
    squares = flat.clamp(min=0).square()[order]
    normalised = squares / squares.cumsum(0).clamp_min(torch.finfo(torch.float64).tiny)
    found = torch.empty_like(flat).scatter_(0, order, normalised)
    return torch.where(flat > -torch.inf, found, -torch.inf).view(scores.shape)
