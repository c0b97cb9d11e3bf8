"""Similarity: a block that hardly turns what it is given is replaceable by nothing.

``score = 1 - mean over inputs of cos(x, y)``, with x what enters the block and y what leaves it, of one
input as one vector (Men et al. 2024, https://arxiv.org/abs/2403.03853, there of each token). It takes one
pass for all blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from featherweight.structured.depth.blocks import Block
from featherweight.structured.depth.bypass import Bypass
from featherweight.structured.depth.importance._base import Scene, block_importances
from featherweight.structured.depth.reference import Bypassing, run


@block_importances.register("similarity")
def similarity(blocks: Sequence[Block], scene: Scene) -> list[float]:
    """Score blocks by how far their outputs are from their inputs, 0..2; needs no labels."""
    found: dict[Bypass, list[float]] = {block.bypasses[0]: [] for block in blocks}

    def watch(pair: Bypass, enters: Tensor, leaves: Tensor) -> None:
        cosines = F.cosine_similarity(enters.flatten(1).double(), leaves.flatten(1).double(), dim=1)
        found[pair] += cosines.tolist()

    running = Bypassing(scene.network, scene.bypasses, found, watch)
    for inputs in scene.inputs():
        run(running, inputs)
        running.entered.clear()
    return [1 - float(np.mean(found[block.bypasses[0]])) for block in blocks]
