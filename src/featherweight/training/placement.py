"""A model on loan: whatever training does to its form is undone when it goes back."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from featherweight.errors import TrainingError

_PREPARED = "_is_accelerate_prepared"  # Accelerate leaves this mark on a model that it does not wrap


def plain(model: nn.Module) -> nn.Module:
    """Return the model under ``torch.compile``: its parameter names are those of the class."""
    return getattr(model, "_orig_mod", model)


def uses_channels_last(model: nn.Module) -> bool:
    """Whether the model has 2-D convolutions, which are faster on CPUs with the channels innermost."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def to_channels_last(model: nn.Module) -> None:
    """Lay the 4-D parameters out with the channels innermost."""
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True, eq=False)
class Form:
    """Device, memory layout and training modes of a model, to be given back."""

    model: nn.Module
    device: torch.device
    modes: Mapping[nn.Module, bool]
    strides: Sequence[tuple[Tensor, tuple[int, ...]]]

    @classmethod
    def of(cls, model: nn.Module) -> Form:
        """Note the form of a model with parameters."""
        modes = {module: module.training for module in model.modules()}
        strides = [(tensor, tensor.stride()) for tensor in _tensors(model)]
        return cls(model, next(model.parameters()).device, modes, strides)

    def give_back(self) -> None:
        """Bring the model back into this form."""
        self.model.to(self.device)
        for tensor, stride in _current(self.model, self.strides):
            _lay_out(tensor, stride)
        for module, mode in self.modes.items():
            module.training = mode


@contextmanager
def on_loan(model: nn.Module) -> Generator[None]:
    """Undo, at the end, changes of device, memory layout, training mode, gradients and marks.

    Raises:
        TrainingError: the model has no parameters, or is wrapped in DistributedDataParallel.
    """
    if next(model.parameters(), None) is None:
        raise TrainingError(f"{type(model).__name__} has no parameters: there is nothing to train.")
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise TrainingError("fit wraps the model itself when there are several processes: pass model.module.")
    form, marked = Form.of(model), hasattr(model, _PREPARED)
    try:
        yield
    finally:
        form.give_back()
        model.zero_grad(set_to_none=True)
        if not marked and hasattr(model, _PREPARED):
            delattr(model, _PREPARED)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _current(
    model: nn.Module, before: Sequence[tuple[Tensor, tuple[int, ...]]]
) -> list[tuple[Tensor, tuple[int, ...]]]:
    """Pair the tensors of now with the strides of before (a buffer may be another object by now)."""
    now = _tensors(model)
    return [(t, s) for t, (old, s) in zip(now, before, strict=False) if t.shape == old.shape and t.ndim == 4]


def _lay_out(tensor: Tensor, stride: tuple[int, ...]) -> None:
    if tensor.stride() != stride:
        form = torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype, device=tensor.device)
        tensor.data = form.copy_(tensor.data)
