"""Iterative (Han et al. 2015, https://arxiv.org/abs/1506.02626): prune, retrain, and again.

In ``rounds`` equal stretches of the run, each removes the same fraction of what is left:
``1 - s(r) = (1 - s_initial) ((1 - s_target) / (1 - s_initial))^(r / rounds)``, r = 1..rounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from featherweight.errors import SettingError
from featherweight.sparsity.schedules._base import Schedule, Time, schedules


@schedules.register("iterative")
@dataclass(frozen=True)
class Iterative(Schedule):
    """Sparsity grows in steps, with training in between.

    Attributes:
        begin: when the first round prunes.
        end: when the last round prunes, and the target is reached.
        rounds: how many times to prune.
    """

    begin: Time = 0
    end: Time = 0.5
    rounds: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 2:
            raise SettingError(f"rounds is at least 2 (one round is OneShot), got {self.rounds!r}.")

    @property
    def finish(self) -> Time:
        """When the target is reached."""
        return self.end

    def updates_at(self, step: int) -> bool:
        """Whether a round begins after ``step`` steps."""
        return step in self._starts()

    def _starts(self) -> list[int]:
        length = int(self.end) - int(self.begin)
        return [int(self.begin) + math.ceil(length * r / (self.rounds - 1)) for r in range(self.rounds)]

    def _between(self, progress: float, initial: float, target: float) -> float:
        done = (math.floor(progress * (self.rounds - 1) + 1e-9) + 1) / self.rounds
        if target >= 1 or initial >= 1:
            return initial + (target - initial) * done
        return 1 - (1 - initial) * ((1 - target) / (1 - initial)) ** done
