"""L1: ``sum |w|`` over all that belongs to a unit (Li et al. 2017, https://arxiv.org/abs/1608.08710)."""

from __future__ import annotations

from torch import Tensor

from featherweight.structured.importance._base import importances, over_slices


@importances.register("l1")
@over_slices
def l1(table: Tensor) -> Tensor:
    """Score units by the sum of the absolute values of their weights."""
    return table.abs().sum(1)
