"""Gradients of the loss over data, for criteria that look at them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.batches import Loss
from featherweight.errors import ModelError
from featherweight.sparsity.calibration import Calibration

__all__ = ["Loss", "gradients_over"]


def gradients_over(model: nn.Module, data: Iterable[Any] | None, loss: Loss) -> dict[str, Tensor]:
    """Return the gradients of the summed loss over ``data``, in evaluation mode; the model's own stay.

    Args:
        model: the network; parameters that are frozen get no gradient.
        data: batches ``(inputs, targets)``, or mappings of keyword arguments with "labels"; None: there are
            no gradients.
        loss: ``(outputs, targets) -> scalar``. The default gives way to a loss that the model itself computes
            of a mapping.

    Raises:
        SettingError: there is no batch, or one of another form.
        ModelError: all parameters are frozen, or a loss is not finite.
    """
    if data is None:
        return {}
    calibration = Calibration.of(data, loss, wanted_by="a criterion that takes gradients")
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not named:
        raise ModelError(
            "Every parameter is frozen (requires_grad is False), so there are no gradients to rank by. "
            "Use model.requires_grad_(), or a criterion without gradients, such as 'l2'."
        )
    total = {name: torch.zeros_like(p) for name, p in named.items()}
    for value in calibration.losses(model):
        found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, found, strict=True):
            total[name] += 0 if gradient is None else gradient  # pyright: ignore
    return total
