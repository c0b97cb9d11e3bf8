"""Which epoch's weights a run ends with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from featherweight.training.attachment import Attachment
from featherweight.training.checkpoint import State
from featherweight.training.records import EpochRecord


@dataclass(frozen=True)
class Choice:
    """The best epoch so far: its number, its weights, and the state of the pruner that belongs to them.

    Attributes:
        epoch: from 0.
        validation: its metric.
        model: a copy of its state dict.
        attachment: the pruner's state; None without a pruner.
    """

    epoch: int
    validation: float
    model: dict[str, Tensor]
    attachment: State | None

    @staticmethod
    def of(record: EpochRecord, model: nn.Module, pruner: Attachment | None) -> Choice:
        """Copy the weights of ``model`` as they are after ``record``."""
        weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        state = None if pruner is None else pruner.state_dict()
        return Choice(record.epoch, record.validation or 0.0, weights, state)

    def apply(self, model: nn.Module, pruner: Attachment | None) -> None:
        """Give ``model`` the weights and ``pruner`` the state."""
        model.load_state_dict(self.model)
        if pruner is not None and self.attachment is not None:
            pruner.load_state_dict(self.attachment)


def is_better(record: EpochRecord, best: Choice | None) -> bool:
    """Whether ``record`` is to be chosen over ``best``: of equal ones the first stays."""
    if record.validation is None or not record.ready or math.isnan(record.validation):
        return False
    return best is None or record.validation > best.validation


def why_last(records: Sequence[EpochRecord]) -> str:
    """Say why none of ``records`` was better than the others, so that the last is taken."""
    if records[-1].validation is None:
        return "last epoch: there is no validation split"
    if not any(record.ready for record in records):
        return "last epoch: the pruner never reached its target"
    return "last epoch: the metric was never a number"
