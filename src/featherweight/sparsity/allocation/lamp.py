"""LAMP: one threshold for the whole network, on scores normalised by layer; see ``lamp_scores``.

Here ``|w|`` is the score of whatever criterion is used.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from featherweight.sparsity.allocation._base import allocations
from featherweight.sparsity.allocation.global_ import global_
from featherweight.sparsity.lamp_scores import lamp_scores


@allocations.register("lamp")
def lamp(scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
    """Keep the weights that are the largest share of what is left of their layer."""
    return global_({name: lamp_scores(score) for name, score in scores.items()}, kept)
