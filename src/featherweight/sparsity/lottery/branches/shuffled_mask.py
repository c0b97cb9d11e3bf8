"""Shuffled mask: the ticket's mask with the entries of each layer in random order.

Each layer keeps as many weights as in the ticket, others: a random mask of the ticket's density *in each
layer*. If it trains as well as the ticket, how many weights each layer keeps is all that the ticket found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.sparsity.lottery.branches._base import Branch, Start, Step, branches, ticket_before

if TYPE_CHECKING:
    from featherweight.sparsity.lottery.lineage import Lineage


@branches.register("shuffled_mask")
class ShuffledMask(Branch):
    """The ticket's weights at their rewind point, with as many others kept in each layer."""

    title = "mask shuffled in each layer"

    def needs(self, step: Step) -> tuple[Step, ...]:
        """Return what decides on the ticket's mask, and the rewind point."""
        return (*ticket_before(step), Step(0, "dense", step.seed))

    def start(self, lineage: Lineage, level: int) -> Start:
        """Return shuffled masks, and the rewound weights (with the learning rate alone, the dense ones)."""
        shuffled: dict[str, Mask] = {}
        for name, mask in lineage.ticket_masks(level).items():
            flat = mask.keep.reshape(-1)
            order = torch.randperm(mask.numel, generator=lineage.generator(f"shuffled_mask {level} {name}"))
            shuffled[name] = Mask(flat[order].view(mask.keep.shape))
        return Start(Masks(shuffled, lineage.whole.left_alone), lineage.rewind_point)
