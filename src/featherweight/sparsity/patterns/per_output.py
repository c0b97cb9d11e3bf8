"""As many weights for each output (Sun, Liu, Bair, Kolter 2023, https://arxiv.org/abs/2306.11695).

The comparison group of Wanda: scores are compared within a row only, so no output loses more than others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.core.mask import Mask
from featherweight.sparsity.patterns._base import RowPattern, is_alive, patterns


@patterns.form("per_output", "per_output")
@dataclass(frozen=True)
class PerOutput(RowPattern):
    """Each output keeps as many weights, to within one.

    An output of which too many are dead already keeps what it has, and the others share the rest.
    """

    def mask(self, scores: Tensor, kept: int) -> Mask:
        """Return the mask of each row's highest scores; some keep one more, by its score."""
        rows = scores.flatten(1)
        ordered, order = rows.sort(dim=1, descending=True, stable=True)
        alive = is_alive(ordered)
        of_place = alive.sum(0).cumsum(0)  # weights in the first places of all rows
        whole = int(torch.count_nonzero(of_place <= kept))
        keep = alive.clone()
        keep[:, whole:] = False
        if whole < rows.shape[1]:
            left = kept - (int(of_place[whole - 1]) if whole else 0)
            keep[:, whole] = Mask.top(ordered[:, whole], left).keep
        return Mask(torch.empty_like(keep).scatter_(1, order, keep).view(scores.shape))
