"""SET (Mocanu et al. 2018, https://arxiv.org/abs/1707.04780): the smallest go, others grow at random.

``dropped(t) = fraction``, of each layer's kept weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from featherweight.sparsity.schedules._base import schedules
from featherweight.sparsity.schedules._growing import Growing


@schedules.register("set")
@dataclass(frozen=True)
class SET(Growing):
    """Sparse from the start; at even intervals the smallest weights are replaced by random ones."""

    by: ClassVar[Literal["random", "gradient"]] = "random"

    def _fraction(self, progress: float) -> float:
        return self.fraction
