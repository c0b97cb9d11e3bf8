"""Gradient magnitude: ``score = |g|``, with ``g = dL/dw``, the mean over batches.

What RigL grows by (Evci, Gale, Menick, Castro, Elsen 2020, https://arxiv.org/abs/1911.11134). It says how
fast a weight would change, not what it is worth: a baseline for what looks at both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from featherweight.sparsity.criteria._base import Context, Scores, criteria
from featherweight.sparsity.criteria._gradients import Leaves, OverData


@dataclass(frozen=True)
class Gradient(OverData):
    """Score a weight by the size of its gradient: ``|dL/dw|``, the mean over batches."""

    def __call__(self, weights: Mapping[str, Tensor], context: Context) -> Scores:
        """Return the scores; raises SettingError if there are no data."""
        losses = self.data_of(context, "gradient").losses(context.model, self.batches)
        found = Leaves.of(weights, context.model).mean_gradients(losses)
        return {name: gradient.abs() for name, gradient in found.items()}


criteria.register("gradient")(Gradient())
