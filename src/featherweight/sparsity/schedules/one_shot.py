"""One-shot: everything at once, at ``begin``; what follows is fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from featherweight.sparsity.schedules._base import Schedule, schedules


@schedules.register("one_shot")
@dataclass(frozen=True)
class OneShot(Schedule):
    """The target is reached in one update, at ``begin``: by default before the first step."""

    def updates_at(self, step: int) -> bool:
        """Whether this is the one update."""
        return step == self.begin

    def _between(self, progress: float, initial: float, target: float) -> float:
        return target
