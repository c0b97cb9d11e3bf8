"""Gradients of the loss over data, for criteria that look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.core.trace import as_arguments, evaluating
from featherweight.errors import ModelError, SettingError

Loss = Callable[[Any, Any], Tensor]


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
            value = _loss_of(model, batch, loss)
            found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
            for name, gradient in zip(named, found, strict=True):
                total[name] += 0 if gradient is None else gradient  # pyright: ignore
            seen = True
    if not seen:
        raise SettingError("data= gave no batch to take gradients on. An iterator can be read only once.")
    return total


def _loss_of(model: nn.Module, batch: Any, loss: Loss) -> Tensor:
    if isinstance(batch, Mapping) and "labels" in batch:
        entries = cast("dict[str, Any]", dict(batch))  # pyright: ignore
        outputs: Any = model(**entries)
        own: Any = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)  # pyright: ignore
        return own if own is not None and loss is F.cross_entropy else loss(outputs, entries["labels"])
    if not isinstance(batch, list | tuple) or len(batch) != 2:  # pyright: ignore
        raise SettingError(
            f"A batch of data= is (inputs, targets), or a mapping with 'labels'; got a "
            f"{type(batch).__name__}."
        )
    inputs, targets = cast("tuple[Any, Any]", batch)
    args, kwargs = as_arguments(inputs)
    return loss(model(*args, **kwargs), targets)
