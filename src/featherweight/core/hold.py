"""Zeros that are set again after every optimizer step.

A kept weight is ``bits and 111...1``, a pruned one ``bits and 000...0``: +0 whatever was there, NaN and -0
included, which a product would leave behind. It takes a third of the time of ``masked_fill_`` on a CPU
(benchmarks/prune_cost.py measures the step), and as much memory as the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_AS_WIDE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, eq=False)
class Held:
    """A weight with zeros to be held.

    Attributes:
        weight: the parameter.
        kept: all bits set where the weight is kept, none where it is pruned; in its memory order.
    """

    weight: nn.Parameter
    kept: Tensor

    @classmethod
    def of(cls, weight: nn.Parameter, pruned: Tensor) -> Held:
        """Return ``weight`` held at zero where the bool tensor ``pruned`` says so."""
        bits = torch.empty_like(weight, dtype=_AS_WIDE[weight.itemsize], requires_grad=False)
        return cls(weight, bits.fill_(-1).masked_fill_(pruned, 0))

    @property
    def fits(self) -> bool:
        """Whether the weight is still of the type and on the device that it had."""
        return self.kept.itemsize == self.weight.itemsize and self.kept.device == self.weight.device

    def zero_(self) -> None:
        """Set the pruned weights to +0, in place."""
        with torch.no_grad():
            self.weight.view(self.kept.dtype).bitwise_and_(self.kept)
