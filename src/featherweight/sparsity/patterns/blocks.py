"""Blocks of R outputs by C inputs are kept or dropped whole (Gray et al. 2017, https://openai.com/research/block-sparse-gpu-kernels).

``score of a block = mean of the scores of its entries``. Blocks lie at one position of the kernel; those at
the end of a row or column are cut short. Entries that were dead before stay dead and do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from featherweight.core.mask import Mask
from featherweight.errors import SettingError
from featherweight.sparsity.patterns._base import RowPattern, is_alive, patterns


@patterns.form("1x4", r"(\d+)x(\d+)", "RxC (blocks of R outputs by C inputs, such as 4x1)")
@dataclass(frozen=True)
class Blocks(RowPattern):
    """Blocks are kept or dropped whole: 1x4, 4x1, 2x2 and the like.

    Attributes:
        outputs: height of a block.
        inputs: width of a block.
    """

    outputs: int
    inputs: int

    def __post_init__(self) -> None:
        sizes = self.outputs, self.inputs
        if not all(isinstance(size, int) and size >= 1 for size in sizes):  # pyright: ignore
            raise SettingError(
                f"A block has at least one output and one input, such as 1x4; "
                f"got {self.outputs}x{self.inputs}."
            )
        object.__setattr__(self, "granularity", self.outputs * self.inputs)

    def restrict(self, scores: Mapping[str, Tensor], kept: int) -> Mapping[str, Tensor]:
        """Return scores in which each entry has the score of its block."""
        return {name: self._shared(score) for name, score in scores.items()}

    def floors(self, scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
        """Return the weights of the blocks that hold an entry that must stay."""
        return {name: self._size_of_lifted(score) for name, score in scores.items()}

    def mask(self, scores: Tensor, kept: int) -> Mask:
        """Return the mask of the best blocks that are together no more than ``kept`` weights."""
        means, sizes = self._means(scores)
        order = means.reshape(-1).argsort(descending=True, stable=True)
        fits = sizes.reshape(-1)[order].cumsum(0) <= kept
        chosen = torch.zeros_like(fits).scatter_(0, order, fits).view(means.shape)
        return Mask(self._spread(chosen, scores) & is_alive(scores))

    def _shared(self, scores: Tensor) -> Tensor:
        means = self._spread(self._means(scores)[0], scores)
        return means.masked_fill(~is_alive(scores), -torch.inf)

    def _size_of_lifted(self, scores: Tensor) -> int:
        means, sizes = self._means(scores)
        return int(sizes[means == torch.inf].sum())

    def _means(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return score and number of weights of each block, (rows, positions, columns) of blocks."""
        alive = is_alive(scores)
        sizes = self._sums(alive, torch.int64)
        sums = self._sums(scores.masked_fill(~alive, 0), torch.float64)  # the largest overflow in float32
        means = (sums / sizes).to(scores.dtype)
        return means.masked_fill(sizes == 0, -torch.inf), sizes

    def _sums(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        outputs, _, inputs = rows.shape
        whole = F.pad(rows, (0, -inputs % self.inputs, 0, 0, 0, -outputs % self.outputs))
        columns = whole.unflatten(2, (-1, self.inputs)).sum(3, dtype=dtype)
        return columns.unflatten(0, (-1, self.outputs)).sum(1)

    def _spread(self, blocks: Tensor, like: Tensor) -> Tensor:
        rows = blocks.repeat_interleave(self.outputs, 0).repeat_interleave(self.inputs, 2)
        return rows[: like.shape[0], :, : like.shape[2]]
