"""Dense: nothing is pruned. Its training is level 0 of every branch, and makes the rewind point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featherweight.sparsity.lottery.branches._base import Branch, Start, Step, branches

if TYPE_CHECKING:
    from featherweight.sparsity.lottery.lineage import Lineage


@branches.register("dense")
class Dense(Branch):
    """The whole network, trained once from each seed."""

    title = "dense"
    keeps_weights = True
    makes_rewind_point = True

    def levels(self, number: int) -> range:
        """Return level 0 alone."""
        return range(1)

    def needs(self, step: Step) -> tuple[Step, ...]:
        """Return nothing."""
        return ()

    def start(self, lineage: Lineage, level: int) -> Start:
        """Return the initialisation."""
        return Start(lineage.whole, lineage.initial)
