"""Uniform: every layer has the same density."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from featherweight.sparsity.allocation._base import alive, allocations, apportion, by_size


@allocations.register("uniform")
@by_size
def uniform(scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
    """Keep the same fraction of each layer, to within one weight."""
    return apportion({name: score.numel() for name, score in scores.items()}, alive(scores), kept)
