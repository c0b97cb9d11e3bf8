"""SparseGPT: columns are pruned one after another, and those to come make up for each.

With ``U^T U = H^-1``, U upper: a weight of column j that is pruned costs ``w^2 / U_jj^2``, as the columns
before it are settled, and ``w_k -= w / U_jj * U_jk`` for every k > j (Frantar, Alistarh 2023,
https://arxiv.org/abs/2301.00774). What a block of columns prunes is chosen when its turn comes, by the scores
of all columns from there on: so it adapts to what was compensated, and the layer keeps exactly as many as it
should. Columns behind a block are updated once for the block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.errors import SettingError
from featherweight.sparsity.oneshot._cells import column_blocks
from featherweight.sparsity.oneshot._problem import LayerProblem, Solution, methods

_PARTS = 64  # a choice looks at the whole layer: so many are cheap beside the rest


@dataclass(frozen=True)
class SparseGPT:
    """Prune column by column, and let the columns to come make up for each.

    Attributes:
        block: how many columns are chosen and updated together; the paper has 128, fewer adapt better.
            None: a 64th of the layer's.
    """

    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None and self.block < 1:
            raise SettingError(f"block is a number of columns of at least 1, got {self.block}.")

    def __call__(self, problem: LayerProblem) -> Solution:
        """Prune the columns from left to right, and compensate to the right."""
        weights, factor = problem.grouped.clone(), problem.inverse_factor
        keep = torch.ones_like(weights, dtype=torch.bool)
        _, positions, inputs = problem.weights.shape
        size = self.block or max(1, problem.columns // _PARTS)
        for block in column_blocks(problem.pattern, positions, inputs, size):
            keep = problem.keep(_scores(weights, factor, keep, block.start))
            errors = _prune_block(weights, factor, keep, block)
            weights[..., block.stop :] -= errors @ factor[:, block.start : block.stop, block.stop :]
        return problem.solution(weights, keep)


methods.register("sparsegpt")(SparseGPT())


def _scores(weights: Tensor, factor: Tensor, keep: Tensor, first: int) -> Tensor:
    """Return what pruning costs; what was decided in the columns before ``first`` stands."""
    diagonal = factor.diagonal(dim1=-2, dim2=-1)[:, None]
    scores = (weights / diagonal).square()
    scores[..., :first] = torch.where(keep[..., :first], torch.inf, -torch.inf)
    return scores


def _prune_block(weights: Tensor, factor: Tensor, keep: Tensor, columns: range) -> Tensor:
    """Prune these columns, compensating within them, in place; return each one's error over ``U_jj``."""
    errors = torch.zeros_like(weights[..., columns.start : columns.stop])
    for number, j in enumerate(columns):
        error = weights[..., j].masked_fill(keep[..., j], 0) / factor[:, j, j, None]
        weights[..., j : columns.stop] -= error[..., None] * factor[:, None, j, j : columns.stop]
        errors[..., number] = error
    return errors
