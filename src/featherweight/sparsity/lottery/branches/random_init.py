"""Random re-initialisation: the ticket's mask with weights that were drawn anew (Frankle, Carbin 2019).

If it is the structure alone that matters, it trains as well as the ticket. It starts from step 0, as fresh
weights have no early step to be rewound to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featherweight.sparsity.lottery.branches._base import Branch, Start, Step, branches, ticket_before

if TYPE_CHECKING:
    from featherweight.sparsity.lottery.lineage import Lineage


@branches.register("random_init")
class RandomInit(Branch):
    """The same mask, other weights: drawn anew at each level."""

    title = "random re-initialisation"

    def needs(self, step: Step) -> tuple[Step, ...]:
        """Return what decides on the ticket's mask."""
        return ticket_before(step)

    def start(self, lineage: Lineage, level: int) -> Start:
        """Return the ticket's masks and fresh weights."""
        return Start(lineage.ticket_masks(level), lineage.fresh(f"random_init {level}"))
