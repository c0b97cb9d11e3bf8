"""Linear: ``s(t) = s_initial + (s_target - s_initial) (t - begin) / (end - begin)``."""

from __future__ import annotations

from dataclasses import dataclass

from featherweight.sparsity.schedules._base import Ramp, schedules


@schedules.register("linear")
@dataclass(frozen=True)
class Linear(Ramp):
    """Sparsity grows evenly."""

    def _between(self, progress: float, initial: float, target: float) -> float:
        return initial + (target - initial) * progress
