"""SNIP: ``score = |w g|``, with ``g = dL/dw``, the mean over batches.

The sensitivity of the loss to a factor before each connection, for networks that are not trained yet (Lee,
Ajanthan, Torr 2019, https://arxiv.org/abs/1810.02340). The paper divides by the sum over all weights, which
changes no order. In several rounds it is iterative SNIP (de Jorge, Sanyal, Behl, Torr, Rogez, Dokania 2021,
https://arxiv.org/abs/2006.09081).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from featherweight.sparsity.criteria._base import Context, Scores, check_rounds, criteria
from featherweight.sparsity.criteria._batch_norm import AtInitialisation, batch_statistics
from featherweight.sparsity.criteria._gradients import Leaves


@dataclass(frozen=True)
class Snip(AtInitialisation):
    """Score a weight by the change of the loss, to first order, when it goes: ``|w dL/dw|`` of the mean loss.

    The network evaluates, but for batch norm that has noted nothing yet: it takes the statistics of the batch
    (``batch_statistics``), as in the paper, which scores at initialisation and in training mode.

    Attributes:
        rounds: prune in so many steps, scoring again after each.
    """

    rounds: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rounds(self.rounds)

    def __call__(self, weights: Mapping[str, Tensor], context: Context) -> Scores:
        """Return the scores; raises SettingError if there are no data."""
        losses = self.data_of(context, "snip").losses(context.model, self.batches)
        leaves = Leaves.of(weights, context.model)
        with batch_statistics(context.model, self.batch_statistics):
            found = leaves.mean_gradients(losses)
        return {name: (weights[name].float() * gradient).abs() for name, gradient in found.items()}


criteria.register("snip")(Snip())
