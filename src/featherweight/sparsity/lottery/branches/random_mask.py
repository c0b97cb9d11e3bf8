"""Random mask: as many weights in all as in the ticket, anywhere.

The density is the ticket's *over the whole network*: a weight of any layer is as likely to be kept as one of
any other. (A random mask with the ticket's density in each layer is ``shuffled_mask``.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.sparsity.lottery.branches._base import Branch, Start, Step, branches, dense_network

if TYPE_CHECKING:
    from featherweight.sparsity.lottery.lineage import Lineage


@branches.register("random_mask")
class RandomMask(Branch):
    """The weights at their rewind point, of which as many as in the ticket are kept at random."""

    title = "random mask"

    def needs(self, step: Step) -> tuple[Step, ...]:
        """Return the dense network, which makes the rewind point."""
        return dense_network(step)

    def start(self, lineage: Lineage, level: int) -> Start:
        """Return a random mask, and the rewound weights (with the learning rate alone, the dense ones)."""
        whole = lineage.whole
        order = torch.randperm(whole.numel, generator=lineage.generator(f"random_mask {level}"))
        keep = torch.zeros(whole.numel, dtype=torch.bool)
        keep[order[: lineage.left(level)]] = True
        sizes = [mask.numel for mask in whole.values()]
        parts = zip(whole.items(), keep.split(sizes), strict=True)
        masks = {name: Mask(part.view(mask.keep.shape).clone()) for (name, mask), part in parts}
        return Start(Masks(masks, whole.left_alone), lineage.rewind_point)
