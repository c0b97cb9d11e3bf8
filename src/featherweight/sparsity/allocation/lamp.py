"""LAMP: layer-adaptive magnitude (Lee, Park, Mo, Ahn, Shin 2021, https://arxiv.org/abs/2010.07611).

``LAMP(w_i) = w_i^2 / sum of w_j^2 over all |w_j| >= |w_i| in the layer``, then one threshold for the
whole network. The largest weight of a layer scores 1, so no layer is ever emptied before all others.
Here ``|w|`` is the score of whatever criterion is used.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from featherweight.sparsity.allocation._base import allocations
from featherweight.sparsity.allocation.global_ import global_


@allocations.register("lamp")
def lamp(scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
    """Keep the weights that are the largest share of what is left of their layer."""
    return global_({name: lamp_scores(score) for name, score in scores.items()}, kept)


def lamp_scores(scores: Tensor) -> Tensor:
    """Return the LAMP scores of one layer, flat and in falling order; dead entries stay -inf."""
    ordered = scores.reshape(-1).sort(descending=True).values.double()
    squares = torch.where(ordered > -torch.inf, ordered.square(), 0)
    normalised = squares / squares.cumsum(0).clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(ordered > -torch.inf, normalised, -torch.inf)
