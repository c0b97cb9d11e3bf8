"""Milliseconds of a forward pass, and of each layer in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from torch import nn

from featherweight.profile.records import Latency


def time_forward(forward: Callable[[], Any], device: torch.device, repeats: int, warmup: int) -> Latency:
    """Return the latency of ``forward`` over ``repeats`` calls, after ``warmup`` uncounted ones."""
    for _ in range(warmup):
        forward()
    times: list[float] = []
    for _ in range(repeats):
        start = _now(device)
        forward()
        times.append(1e3 * (_now(device) - start))
    return Latency.of(times)


def time_layers(
    model: nn.Module, forward: Callable[[], Any], device: torch.device, repeats: int
) -> dict[str, Latency]:
    """Return the latency of each module without modules inside, by its path.

    The hooks that read the clock add a few microseconds to each layer, so rows do not add up to the total.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats):
        spent: dict[str, float] = defaultdict(float)
        with _clocks(model, spent, device):
            forward()
        for name, seconds in spent.items():
            times[name].append(1e3 * seconds)
    return {name: Latency.of(found) for name, found in times.items() if len(found) > 1}


@contextmanager
def _clocks(model: nn.Module, spent: dict[str, float], device: torch.device) -> Generator[None]:
    started: dict[str, float] = {}

    def start(name: str) -> Callable[..., None]:
        return lambda *_: started.__setitem__(name, _now(device))

    def stop(name: str) -> Callable[..., None]:
        return lambda *_: spent.__setitem__(name, spent[name] + _now(device) - started[name])

    handles: list[Any] = []
    try:
        for name, module in model.named_modules():
            if next(module.children(), None) is None:
                handles.append(module.register_forward_pre_hook(start(name)))
                handles.append(module.register_forward_hook(stop(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()
