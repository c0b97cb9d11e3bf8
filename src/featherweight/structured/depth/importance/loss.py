"""Loss: how much the mean loss over the data grows when a block is bypassed."""

from __future__ import annotations

from collections.abc import Sequence

from featherweight.structured.depth.blocks import Block
from featherweight.structured.depth.importance._base import Scene, block_importances, mean_loss


@block_importances.register("loss")
def loss(blocks: Sequence[Block], scene: Scene) -> list[float]:
    """Score blocks by the loss without them minus the loss with them; each costs a pass over the data."""
    now = mean_loss(scene.without(), scene)
    return [mean_loss(scene.without(block), scene) - now for block in blocks]
