"""Masks that are held up to a step, where training is to stop."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

from featherweight.core.holding import Holding
from featherweight.core.masks import Masks


class StepReached(Exception):  # noqa: N818 - an answer, not an error
    """The step that a training was to go to is done, and saved."""


class HoldingUntil(Holding):
    """Holds masks up to a step: the one after it raises StepReached."""

    def __init__(self, model: nn.Module, masks: Masks, last: int) -> None:
        """Bind masks to a model; raises MaskError if they do not fit."""
        super().__init__(model, masks)
        self.last = last

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        super()._after_step(optimizer, args, kwargs)
        if self.step > self.last:
            raise StepReached
