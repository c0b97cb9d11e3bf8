"""Cubic (Zhu & Gupta 2017, https://arxiv.org/abs/1710.01878): fast while much is redundant, then slowly.

``s(t) = s_target + (s_initial - s_target) (1 - (t - begin) / (end - begin))^3``
"""

from __future__ import annotations

from dataclasses import dataclass

from featherweight.sparsity.schedules._base import Ramp, schedules


@schedules.register("cubic")
@dataclass(frozen=True)
class Cubic(Ramp):
    """Sparsity grows along a cubic that flattens towards the target."""

    def _between(self, progress: float, initial: float, target: float) -> float:
        return target + (initial - target) * (1 - progress) ** 3
