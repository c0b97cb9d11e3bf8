"""Erdős-Rényi-Kernel (Evci, Gale, Menick, Castro, Elsen 2020, https://arxiv.org/abs/1911.11134).

The density of a layer is proportional to ``(n_in + n_out + k_h + k_w) / (n_in n_out k_h k_w)``: the sum
of the weight's dimensions over their product. Layers that this would fill are dense, and the others
share what is left.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from featherweight.sparsity.allocation._base import alive, allocations, apportion, by_size


@allocations.register("erk")
@by_size
def erk(scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
    """Keep weights in proportion to the sum of each layer's dimensions."""
    # density * size = sum of dimensions, since the product of the dimensions is the size
    return apportion({name: float(sum(score.shape)) for name, score in scores.items()}, alive(scores), kept)
