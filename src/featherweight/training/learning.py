"""What a step is: gradients become weights, at a rate, and the weights are averaged."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from accelerate import Accelerator
from torch import nn

from featherweight.training import parallel
from featherweight.training.average import WeightAverage
from featherweight.training.checkpoint import State
from featherweight.training.guidance import Guidance, parameters_of
from featherweight.training.rates import make_scheduler
from featherweight.training.settings import TrainingSettings


class Learning:
    """The optimizer over the parameters of a model and of what guides it, its rate, and the average."""

    def __init__(
        self,
        model: nn.Module,
        guidance: Guidance | None,
        settings: TrainingSettings,
        accelerator: Accelerator,
        total_steps: int,
    ) -> None:
        """Start at step 0, without gradients; all is on its device."""
        self._model, self._accelerator, self._clip = model, accelerator, settings.clip
        self._guiding = parameters_of(guidance)
        self.optimizer = settings.make_optimizer(model, self._guiding)
        self._scheduler = make_scheduler(settings.rate, settings.warmup, self.optimizer, total_steps)
        self._average = None if settings.ema_decay is None else WeightAverage(model, settings.ema_decay)
        self.optimizer.zero_grad()

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, *, hold_zeros: bool) -> None:
        """Take a step along the gradients; ``hold_zeros``: zeros of the weights are zeros of the average."""
        parallel.average_gradients(self._accelerator, self._guiding)
        if self._clip is not None:
            nn.utils.clip_grad_norm_([*self._model.parameters(), *self._guiding], self._clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._scheduler.step()
        if self._average is not None:
            self._average.update(hold_zeros=hold_zeros)

    def averaged(self) -> AbstractContextManager[Any]:
        """Have the average of the weights in the model within the block, where there is one."""
        return nullcontext() if self._average is None else self._average.inside()

    def leave_average(self) -> None:
        """Leave the average of the weights in the model, where there is one."""
        if self._average is not None:
            self._average.leave()

    def state_dict(self) -> State:
        """Return the state of all of it."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from ``state``, or from a larger mapping that has its entries."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
