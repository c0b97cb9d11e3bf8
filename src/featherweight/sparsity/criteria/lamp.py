"""LAMP: magnitude normalised by layer.

``score_i = w_i^2 / sum of w_j^2 over all |w_j| >= |w_i| in the layer`` (Lee, Park, Mo, Ahn, Shin 2021,
https://arxiv.org/abs/2010.07611). With allocation="global" it prunes as "magnitude" with allocation="lamp".
"""

from __future__ import annotations

from torch import Tensor

from featherweight.sparsity.criteria._base import Context, criteria, layerwise
from featherweight.sparsity.lamp_scores import lamp_scores


@criteria.register("lamp")
@layerwise
def lamp(weight: Tensor, name: str, context: Context) -> Tensor:
    """Score a weight by its share of the squares in its layer that are as large or larger."""
    return lamp_scores(weight.abs()).float()
