"""What a schedule is: the sparsity wanted after each optimizer step, a pure function of the step.

One that also moves the kept weights, at the same sparsity, says so by ``growth_at``.

``begin``, ``end`` and ``every`` are optimizer steps if whole numbers, or fractions of the run if
floats in 0..1; ``planned(total_steps)`` turns fractions into steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, Self

from featherweight._registry import Registry
from featherweight.errors import SettingError

Time = int | float


@dataclass(frozen=True)
class Growth:
    """How masks move to other weights, each layer's count staying.

    Attributes:
        fraction: of each layer's kept weights, which are dropped and as many grown instead, 0..1.
        by: which weights grow: any ("random"), or those of the largest gradient ("gradient").
    """

    fraction: float
    by: Literal["random", "gradient"]

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise SettingError(f"The fraction of a Growth lies in 0..1, got {self.fraction!r}.")
        if self.by not in ("random", "gradient"):
            raise SettingError(f"A Growth is by 'random' or 'gradient', got {self.by!r}.")


@dataclass(frozen=True)
class Schedule(ABC):
    """When to prune, and how far.

    Attributes:
        begin: when sparsity starts to grow from the initial one.
        refills: whether a sparsity lower than before is reached by letting go of masks.
    """

    begin: Time = 0
    refills: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in self._times():
            _check_time(name, getattr(self, name))
        if type(self.begin) is type(self.last) and self.last < self.begin:
            raise SettingError(
                f"end of a schedule is not before its begin, got {self.begin!r}..{self.last!r}."
            )

    @property
    def finish(self) -> Time:
        """When the target is reached."""
        return self.begin

    @property
    def last(self) -> Time:
        """When masks change for the last time."""
        return self.finish

    @property
    def grows(self) -> bool:
        """Whether weights that were pruned may come back."""
        return self.refills or type(self).growth_at is not Schedule.growth_at

    def _times(self) -> list[str]:
        """Return the names of the times that are set."""
        times = [field.name for field in fields(self) if field.name in ("begin", "end", "every")]
        return [name for name in times if getattr(self, name) is not None]

    @property
    def is_planned(self) -> bool:
        """Whether all times are steps."""
        return all(isinstance(getattr(self, name), int) for name in self._times())

    def planned(self, total_steps: int) -> Self:
        """Return this schedule with its fractions turned into steps of a run of ``total_steps``."""
        times = {name: getattr(self, name) for name in self._times()}
        steps = {n: t if isinstance(t, int) else round(t * total_steps) for n, t in times.items()}
        if "every" in steps:
            steps["every"] = max(1, steps["every"])
        return replace(self, **steps)

    def sparsity_at(self, step: int, target: float, initial: float = 0.0) -> float:
        """Return the sparsity (0..1) wanted after ``step`` steps, from ``initial`` to ``target``."""
        if step < self.begin:
            return initial
        if step >= self.finish:
            return target
        progress = (step - int(self.begin)) / (int(self.finish) - int(self.begin))
        return self._between(progress, initial, target)

    def check_fits(self, total_steps: int) -> None:
        """Raise SettingError if this planned schedule is not over after ``total_steps`` steps."""
        late = self.finish if self.finish > total_steps else self.last
        if late > total_steps:
            what = "reaches the target" if late == self.finish else "moves weights for the last time"
            raise SettingError(
                f"The schedule {what} after {late} steps, but the run has {total_steps}. Give it an earlier "
                f"end (0.5 is half of the run) or train for more epochs."
            )

    def growth_at(self, step: int) -> Growth | None:
        """Return how masks move after ``step`` steps; None: they stay, or are computed anew."""
        return None

    def ready_at(self, step: int) -> bool:
        """Whether the network is as sparse as asked after ``step`` steps."""
        return self.is_planned and step >= self.finish

    @abstractmethod
    def updates_at(self, step: int) -> bool:
        """Whether the masks are computed anew after ``step`` steps."""

    @abstractmethod
    def _between(self, progress: float, initial: float, target: float) -> float:
        """Return the sparsity at ``progress`` (0..1) of the way."""


@dataclass(frozen=True)
class Ramp(Schedule):
    """A schedule that updates the masks at even intervals.

    Attributes:
        begin: when sparsity starts to grow from the initial one.
        end: when it reaches the target.
        every: time between updates of the masks; None: a hundredth of the way, and at least a step.
    """

    begin: Time = 0
    end: Time = 0.5
    every: Time | None = None

    @property
    def finish(self) -> Time:
        """When the target is reached."""
        return self.end

    def updates_at(self, step: int) -> bool:
        """Whether the masks are computed anew after ``step`` steps."""
        begin, end = int(self.begin), int(self.end)
        every = int(self.every) if self.every is not None else max(1, (end - begin) // 100)
        return step == end or (begin <= step < end and (step - begin) % every == 0)


def _check_time(name: str, time: Time) -> None:
    if isinstance(time, bool) or not isinstance(time, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(f"{name} is a step (int) or a fraction of the run (float), got {time!r}.")
    if time < 0 or (isinstance(time, float) and not time <= 1):
        raise SettingError(f"{name} is a step of at least 0, or a fraction in 0.0..1.0, got {time!r}.")
    if name == "every" and time == 0:
        raise SettingError("every is at least one step, got 0.")


schedules: Registry[type[Schedule]] = Registry("schedule")


def schedule_of(choice: str | Schedule) -> Schedule:
    """Return the schedule that a name or an object stands for.

    Raises:
        SettingError: it stands for none.
    """
    schedule = schedules[choice]() if isinstance(choice, str) else choice
    if not isinstance(schedule, Schedule):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(
            f"schedule is a name or an object such as fw.schedules.Cubic(begin=0, end=1000), got {choice!r}."
        )
    return schedule
