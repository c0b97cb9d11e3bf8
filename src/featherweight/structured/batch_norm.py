"""Running statistics of batch norm, estimated anew for the network that is left.

Cutting channels changes what reaches the layers behind them, so that the mean and the variance noted while
training no longer fit. Running data through the network mends that without training it.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from featherweight.core.batches import device_of, moved, outputs_of
from featherweight.errors import SettingError
from featherweight.structured.graph_module import RewrittenModule


def reestimate_batch_norm(model: nn.Module, data: Iterable[Any], *, batches: int = 50) -> int:
    """Estimate the running mean and variance of every batch norm anew; nothing else is changed.

    Args:
        model: a network, as it is after ``prune_structured``. Everything but batch norm evaluates.
        data: batches ``(inputs, targets)``, or mappings of keyword arguments ("labels" is left out); of the
            training data, never of the test set. They are moved to the model's device.
        batches: how many to take at most, at least 1.

    Returns:
        The number of layers with new statistics; 0 where there is no batch norm.

    Raises:
        SettingError: there are no batches.
    """
    if batches < 1:
        raise SettingError(f"batches is a number of at least 1, got {batches!r}.")
    graphs = [module for module in model.modules() if isinstance(module, RewrittenModule)]
    layers = [*_layers(model), *(norm for graph in graphs for norm in graph.batch_norms())]
    if not layers:
        return 0
    training = {module: module.training for module in model.modules()}
    seen, device = 0, device_of(model)
    model.eval()
    try:
        with torch.no_grad(), _averaging(layers):
            for seen, batch in enumerate(itertools.islice(data, batches), start=1):
                for layer in layers:
                    layer.momentum = 1 / seen  # the mean of all batches until now
                for graph in graphs:
                    graph.recompile()
                outputs_of(model, moved(batch, device), labels=False)
    finally:
        for module, mode in training.items():
            module.training = mode
        for graph in graphs:
            graph.write_mode()  # which recompiles it
    if not seen:
        raise SettingError("data= gave no batch to estimate batch norm on.")
    return len({layer.running_mean for layer in layers})


def _layers(model: nn.Module) -> list[_BatchNorm]:
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@contextmanager
def _averaging(layers: Iterable[Any]) -> Generator[None]:
    """Let the layers train, and give them their momentum back."""
    momentum = [(layer, layer.momentum) for layer in layers]
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer, value in momentum:
            layer.momentum = value
            layer.eval()
