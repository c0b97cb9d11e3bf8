"""FPGM: the units nearest to the geometric median of their group are replaceable.

``score(i) = sum_j |w_i - w_j|`` (He et al. 2019, https://arxiv.org/abs/1811.00250).
"""

from __future__ import annotations

import torch
from torch import Tensor

from featherweight.structured.importance._base import importances, over_slices


@importances.register("fpgm")
@over_slices
def fpgm(table: Tensor) -> Tensor:
    """Score units by their distance to all others."""
    return torch.cdist(table, table).sum(1)
