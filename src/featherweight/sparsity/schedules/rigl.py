"""RigL (Evci et al. 2020, https://arxiv.org/abs/1911.11134): the smallest go, others grow by gradient.

``dropped(t) = fraction / 2 (1 + cos(pi (t - begin) / (end - begin)))``, of each layer's kept weights. The
gradient is that of the optimizer step just taken; the paper spends a batch on it and takes no step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from featherweight.sparsity.schedules._base import schedules
from featherweight.sparsity.schedules._growing import Growing


@schedules.register("rigl")
@dataclass(frozen=True)
class RigL(Growing):
    """Sparse from the start; the smallest weights are replaced by those of the largest gradient."""

    by: ClassVar[Literal["random", "gradient"]] = "gradient"

    def _fraction(self, progress: float) -> float:
        return self.fraction / 2 * (1 + math.cos(math.pi * progress))
