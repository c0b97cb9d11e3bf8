"""Magnitude: ``score = |w|`` (Han, Pool, Tran, Dally 2015, https://arxiv.org/abs/1506.02626)."""

from __future__ import annotations

from torch import Tensor

from featherweight.sparsity.criteria._base import Context, criteria, layerwise


@criteria.register("magnitude")
@layerwise
def magnitude(weight: Tensor, name: str, context: Context) -> Tensor:
    """Score a weight by its absolute value."""
    return weight.abs().float()
