"""One-shot: the trained dense network is pruned to the level at once, and what is left is rewound.

What iterating is worth is the ticket's lead over it (Frankle, Carbin 2019, section 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featherweight.sparsity.lottery.branches._base import Branch, Start, Step, branches, dense_network

if TYPE_CHECKING:
    from featherweight.sparsity.lottery.lineage import Lineage


@branches.register("one_shot")
class OneShot(Branch):
    """The largest of the dense network's trained weights, rewound."""

    title = "one-shot"

    def needs(self, step: Step) -> tuple[Step, ...]:
        """Return the dense network."""
        return dense_network(step)

    def start(self, lineage: Lineage, level: int) -> Start:
        """Return the masks, and the rewound weights (with the learning rate alone, the trained ones)."""
        return Start(lineage.pruned_at_once(level), lineage.rewind_point)
