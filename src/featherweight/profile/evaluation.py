"""Accuracy of a network over a loader."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import nn

from featherweight.core.batches import device_of
from featherweight.core.prunable import unwrap
from featherweight.errors import DataError, ModelError
from featherweight.training.objective import Metric, Objective
from featherweight.zoo import default_loaders


def evaluate(
    model: nn.Module,
    loader: Iterable[Any] | None = None,
    *,
    metric: Metric | None = None,
    device: str | torch.device | None = None,
) -> float:
    """Return the accuracy of ``model`` over ``loader``, 0..1, or another metric.

    Args:
        model: the network; its training mode is as before afterwards.
        loader: batches (inputs, targets), or mappings with "labels" that are the model's keyword arguments;
            None: the test split of the model's own data (zoo models).
        metric: (outputs, targets) -> (sum, count), whose quotient is returned; None: correct predictions.
        device: where to run; None: where the model is. The model is not moved.

    Raises:
        SettingError: no loader, and the model has no data of its own.
        TrainingError: batches or outputs are of a form that the metric cannot take.
        ModelError: the model is not on ``device``.
        DataError: the loader gives no example.
    """
    batches = default_loaders(model).test if loader is None else loader
    where = _device(model, device)
    objective = Objective(None, metric, label_smoothing=0.0, precision="fp32", channels_last=False)
    inner = unwrap(model)
    training = [module for module in inner.modules() if module.training]
    total = count = 0.0
    inner.eval()
    try:
        with torch.no_grad():  # not inference_mode: what the model keeps must stay fit for training
            for batch in batches:
                part = objective.metric(*objective.outputs(inner, send_to_device(batch, where)))
                total, count = total + float(part[0]), count + float(part[1])
    finally:
        for module in training:
            module.training = True
    if not count > 0:
        raise DataError("The loader gave no example to evaluate on.")
    return total / count


def _device(model: nn.Module, device: str | torch.device | None) -> torch.device:
    here = device_of(model)
    if device is not None and torch.device(device).type != here.type:
        raise ModelError(f"The model is on {here}, not on {device}: move it with model.to({str(device)!r}).")
    return here
