"""A moving average of the weights, which is validated and chosen in their place.

After step n, counted from 0::

    d = min(decay, (1 + n) / (10 + n))
    average <- d * average + (1 - d) * weights

so that the average follows the weights closely while they are still far from where they end (the rule of
TensorFlow's ExponentialMovingAverage). Floating-point buffers, the running statistics of batch norm, are
averaged with the weights that they were measured on; counters, and buffers that hold an infinity (attention
masks), are copied.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """The moving average of the parameters and buffers of one model."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the weights of ``model`` as they are, on their device; ``decay`` lies within 0..1."""
        self._model, self._decay, self._steps = model, decay, 0
        self._values = {name: tensor.detach().clone() for name, tensor in _tensors(model).items()}
        self._mixed = [
            n for n, v in self._values.items() if v.is_floating_point() and bool(v.isfinite().all())
        ]

    @torch.no_grad()
    def update(self, *, hold_zeros: bool) -> None:
        """Take the weights after a step in; with ``hold_zeros``, zeros of it are zeros of the average."""
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        now = _tensors(self._model)
        average = [self._values[name] for name in self._mixed]
        get_ema_multi_avg_fn(decay)(average, [now[name].detach() for name in self._mixed], self._steps)
        for name in now.keys() - set(self._mixed):
            self._values[name].copy_(now[name])
        if hold_zeros:
            for name, parameter in self._model.named_parameters():
                self._values[name].masked_fill_(parameter == 0, 0)

    @contextmanager
    def inside(self) -> Generator[None]:
        """Have the average in the model; at the end, the weights again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def leave(self) -> None:
        """Put the average into the model for good."""
        for name, tensor in _tensors(self._model).items():
            tensor.copy_(self._values[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in _tensors(self._model).items():
            weights = tensor.detach().clone()
            tensor.copy_(self._values[name])
            self._values[name].copy_(weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps and the average."""
        return {"steps": self._steps, "values": dict(self._values)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._steps = int(state["steps"])
        for name, value in state["values"].items():
            self._values[name].copy_(value)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
