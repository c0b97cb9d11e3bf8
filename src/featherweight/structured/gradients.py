"""Gradients of the loss over data, for criteria that look at them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.trace import evaluating
from featherweight.errors import ModelError, SettingError
from featherweight.structured.batches import Loss, loss_of, outputs_of, read_batch

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
        ModelError: all parameters are frozen.
    """
    if data is None:
        return {}
    if not isinstance(data, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(f"data= is batches (inputs, targets), got a {type(data).__name__}.")
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not named:
        raise ModelError(
            "Every parameter is frozen (requires_grad is False), so there are no gradients to rank by. "
            "Use model.requires_grad_(), or a criterion without gradients, such as 'l2'."
        )
    total, seen = {name: torch.zeros_like(p) for name, p in named.items()}, False
    with evaluating(model), torch.enable_grad():
        for batch in data:
            _, targets = read_batch(batch)
            value = loss_of(outputs_of(model, batch, labels=True), targets, loss)
            found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
            for name, gradient in zip(named, found, strict=True):
                total[name] += 0 if gradient is None else gradient  # pyright: ignore
            seen = True
    if not seen:
        raise SettingError("data= gave no batch to take gradients on. An iterator can be read only once.")
    return total
