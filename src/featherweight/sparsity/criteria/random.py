"""Random: the baseline that every other criterion has to beat. ``score ~ U(0, 1)``."""

from __future__ import annotations

import torch
from torch import Tensor

from featherweight.sparsity.criteria._base import Context, criteria, layerwise


@criteria.register("random")
@layerwise
def random(weight: Tensor, name: str, context: Context) -> Tensor:
    """Score weights at random, the same ones at every update and in every process."""
    return torch.rand(weight.shape, generator=context.generator(name)).to(weight.device)
