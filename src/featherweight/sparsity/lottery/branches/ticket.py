"""The ticket: iterative magnitude pruning (Frankle, Carbin 2019, https://arxiv.org/abs/1803.03635).

Train, prune a fraction of the weights that are left, rewind these to what they were, and again. With the
learning rate alone rewound the weights stay as they are trained (Renda, Frankle, Carbin 2020,
https://arxiv.org/abs/2003.02389).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featherweight.sparsity.lottery.branches._base import Branch, Start, Step, branches, ticket_before

if TYPE_CHECKING:
    from featherweight.sparsity.lottery.lineage import Lineage


@branches.register("ticket")
class Ticket(Branch):
    """The largest of the weights trained at the level before, rewound."""

    title = "ticket"
    keeps_weights = True

    def needs(self, step: Step) -> tuple[Step, ...]:
        """Return the level before."""
        return ticket_before(step)

    def start(self, lineage: Lineage, level: int) -> Start:
        """Return the masks that the level before decided on, and the rewound weights."""
        masks = lineage.ticket_masks(level)
        if lineage.experiment.rewinds_weights:
            return Start(masks, lineage.rewind_point)
        return Start(masks, lineage.trained_before(level))
