"""L2: ``sqrt(sum w^2)`` of each tensor's part of a unit, summed over the tensors of its group.

That is the group magnitude of DepGraph (Fang et al. 2023, https://arxiv.org/abs/2301.12900).
"""

from __future__ import annotations

from torch import Tensor

from featherweight.structured.importance._base import importances, over_slices


@importances.register("l2")
@over_slices
def l2(table: Tensor) -> Tensor:
    """Score units by the Euclidean norm of their weights."""
    return table.square().sum(1).sqrt()  # six times faster than norm() on a transposed table
