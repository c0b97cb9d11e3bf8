"""AC/DC (Peste et al. 2021, https://arxiv.org/abs/2106.12379): compressed and decompressed by turns.

From ``begin`` on, phases of ``every``: compressed ``[begin, begin + every)``, decompressed, compressed, ...;
from ``end`` on compressed. A compressed phase that would not be over before ``end`` is not begun, and the
decompressed one before it lasts until then. The defaults are the paper's for 100 epochs: 10 dense ones,
phases of 5, the last decompressed one of 10, and 15 compressed at the end; of a short run these are few
steps. The optimizer forgets what it knew of weights that come back; the authors clear the momentum of the
others too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from featherweight.errors import SettingError
from featherweight.sparsity.schedules._base import Schedule, Time, schedules


@schedules.register("acdc")
@dataclass(frozen=True)
class ACDC(Schedule):
    """Phases at the target sparsity take turns with phases in which all weights train.

    Attributes:
        begin: when the first compressed phase begins; the network trains as it is before.
        end: when the last compressed phase begins, which is fine-tuning.
        every: how long a phase lasts.
    """

    refills: ClassVar[bool] = True

    begin: Time = 0.1
    end: Time = 0.85
    every: Time = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_planned and int(self.begin) + int(self.every) >= int(self.end):
            raise SettingError(
                f"There is no decompressed phase: the first compressed one lasts for {self.every} steps from "
                f"{self.begin}, and the last one begins at {self.end}. Give a shorter every, a later end, or "
                f"train for longer."
            )

    @property
    def finish(self) -> Time:
        """When the target is reached for good."""
        return self.end

    def ready_at(self, step: int) -> bool:
        """Whether the network is as sparse as asked after ``step`` steps: in a compressed phase."""
        return self.is_planned and self._compresses(step)

    def sparsity_at(self, step: int, target: float, initial: float = 0.0) -> float:
        """Return the sparsity (0..1) wanted after ``step`` steps: the target, or the initial one."""
        return target if self._compresses(step) else initial

    def updates_at(self, step: int) -> bool:
        """Whether a phase begins after ``step`` steps."""
        compresses = self._compresses(step)
        return step == self.begin or compresses != self._compresses(step - 1) or step == self.end

    def _compresses(self, step: int) -> bool:
        begin, end, every = int(self.begin), int(self.end), int(self.every)
        if step < begin or step >= end:
            return step >= end
        phase = (step - begin) // every
        return phase % 2 == 0 and (phase == 0 or begin + (phase + 1) * every < end)

    def _between(self, progress: float, initial: float, target: float) -> float:
        return target
