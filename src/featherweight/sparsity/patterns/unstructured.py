"""Unstructured: any entry may be zero."""

from __future__ import annotations

from torch import Tensor

from featherweight.core.mask import Mask
from featherweight.sparsity.patterns._base import patterns


@patterns.register("unstructured")
def unstructured(scores: Tensor, kept: int) -> Mask:
    """Keep the ``kept`` highest scores."""
    return Mask.top(scores, kept)
