"""Masks: which entries of a weight are kept. They live beside the model, never in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from featherweight.errors import MaskError, SettingError


@dataclass(frozen=True, eq=False)
class Mask:
    """Which entries of one weight are kept.

    Attributes:
        keep: bool tensor of the weight's shape; False where the weight is zero for good.
    """

    keep: Tensor

    def __post_init__(self) -> None:
        if self.keep.dtype != torch.bool:
            raise MaskError(f"A mask is a bool tensor, got {self.keep.dtype}.")

    @property
    def numel(self) -> int:
        """Number of entries."""
        return self.keep.numel()

    @cached_property
    def kept(self) -> int:
        """Number of entries that are kept."""
        return int(torch.count_nonzero(self.keep))

    @property
    def sparsity(self) -> float:
        """Fraction of the entries that are zero, 0..1."""
        return 1 - self.kept / self.numel if self.numel else 0.0

    @classmethod
    def top(cls, scores: Tensor, kept: int) -> Mask:
        """Return the mask of exactly ``kept`` highest scores; of equal ones, those of lowest index.

        Args:
            scores: any shape, any floating dtype, no NaN.
            kept: how many to keep, 0..scores.numel().
        """
        if not 0 <= kept <= scores.numel():
            raise SettingError(f"kept lies in 0..{scores.numel()}, got {kept}.")
        flat = scores.reshape(-1)
        if kept == 0:
            return cls(torch.zeros_like(scores, dtype=torch.bool))
        threshold = kth_largest(flat, kept)
        keep = flat > threshold
        ties = (flat == threshold).nonzero().squeeze(1)
        keep[ties[: kept - int(torch.count_nonzero(keep))]] = True
        return cls(keep.view(scores.shape))


def kth_largest(flat: Tensor, k: int) -> Tensor:
    """Return the k-th largest (from 1) value of a flat tensor, as a 0-dimensional tensor.

    ``torch.quantile`` refuses more than 16M elements and ``torch.topk`` sorts what it finds; on a CPU
    numpy's partition is a vectorised quickselect and the quickest by several times, except among equal
    values. Those that many scores share are the lowest, -inf of what is dead or 0, and are set aside first.
    """
    if flat.device.type != "cpu" or flat.dtype not in (torch.float32, torch.float64):
        return torch.kthvalue(flat, flat.numel() - k + 1).values
    import numpy as np

    lowest = flat.min()
    above = flat > lowest
    count = int(torch.count_nonzero(above))
    if k > count:
        return lowest
    many = flat.numel() - count > flat.numel() // 16  # else copying costs more than it spares
    values = (flat[above] if many else flat).numpy()
    return torch.as_tensor(np.partition(values, values.size - k)[-k], dtype=flat.dtype)
