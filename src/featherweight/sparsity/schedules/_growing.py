"""Dynamic sparse training: sparse from ``begin`` on, while the kept weights move until ``end``."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar, Literal

from featherweight.errors import SettingError
from featherweight.sparsity.schedules._base import Growth, Schedule, Time


@dataclass(frozen=True)
class Growing(Schedule):
    """A schedule that prunes to the target at once, then drops and grows weights at even intervals.

    Attributes:
        begin: when the target is reached; by default before the first step, a sparse start.
        end: from when on masks stay as they are.
        every: time between updates of the masks; None: a hundredth of the way, and at least ten steps.
        fraction: of each layer's kept weights that are dropped, and as many grown, 0 < fraction < 1.
    """

    by: ClassVar[Literal["random", "gradient"]]

    begin: Time = 0
    end: Time = 0.75
    every: Time | None = None
    fraction: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        no_number = isinstance(self.fraction, bool) or not isinstance(self.fraction, Real)
        if no_number or not 0 < self.fraction < 1:
            raise SettingError(
                f"fraction is of the kept weights that move at an update, 0 < fraction < 1, got "
                f"{self.fraction!r}. Masks that never move are OneShot."
            )
        if self.is_planned and int(self.begin) + self._interval >= int(self.end):
            raise SettingError(
                f"No weight would ever grow: the first update is {self._interval} steps after {self.begin}, "
                f"and there is none from {self.end} on. Give a shorter every, a later end, or train longer."
            )

    @property
    def last(self) -> Time:
        """When masks change for the last time."""
        return self.end

    @property
    def _interval(self) -> int:
        every = self.every if self.every is not None else max(10, (int(self.end) - int(self.begin)) // 100)
        return int(every)

    def updates_at(self, step: int) -> bool:
        """Whether this is the one update that prunes to the target."""
        return step == self.begin

    def growth_at(self, step: int) -> Growth | None:
        """Return how masks move after ``step`` steps; None: they stay, or are computed anew."""
        begin, end = int(self.begin), int(self.end)
        if not begin < step < end or (step - begin) % self._interval:
            return None
        return Growth(self._fraction((step - begin) / (end - begin)), self.by)

    @abstractmethod
    def _fraction(self, progress: float) -> float:
        """Return the fraction at ``progress`` (0..1) of the way."""

    def _between(self, progress: float, initial: float, target: float) -> float:
        return target
