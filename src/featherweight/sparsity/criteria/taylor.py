"""First-order Taylor: ``score = mean over batches of (w g)^2``, with ``g = dL/dw`` of the batch.

The squared change of the loss, to first order, when a weight goes (Molchanov, Mallya, Tyree, Frosio, Kautz
2019, https://arxiv.org/abs/1906.10771, equation 8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from featherweight.sparsity.criteria._base import Context, Scores, criteria
from featherweight.sparsity.criteria._gradients import Leaves, OverData


@dataclass(frozen=True)
class Taylor(OverData):
    """Score a weight by the squared change of the loss, to first order, when it goes: ``(w dL/dw)^2``."""

    def __call__(self, weights: Mapping[str, Tensor], context: Context) -> Scores:
        """Return the scores; raises SettingError if there are no data."""
        leaves = Leaves.of(weights, context.model)
        losses = self.data_of(context, "taylor").losses(context.model, self.batches)

        def squared_changes(loss: Tensor) -> Scores:
            return {n: (weights[n].float() * g).square() for n, g in leaves.gradients(loss).items()}

        return leaves.mean(losses, squared_changes)


criteria.register("taylor")(Taylor())
