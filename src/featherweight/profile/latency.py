"""Milliseconds of a forward pass, and of each layer in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any

import torch
from torch import nn

from featherweight.core.batches import device_of
from featherweight.core.trace import as_arguments, evaluating
from featherweight.profile.records import Latency

FEWEST_TURNS = 5


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


def time_in_turns(
    models: Mapping[str, nn.Module], example_inputs: Any, *, seconds: float = 2.0
) -> dict[str, Latency]:
    """Return the latency of several networks that take turns (A B A B ...), by their names.

    What else the machine does meanwhile falls on all of them alike, which two separate measurements cannot
    promise.

    Args:
        models: two or more networks on one device; timed in evaluation mode without gradients.
        example_inputs: a tensor, a tuple of positional arguments or a mapping of keyword arguments.
        seconds: how long to measure in all, about; each network runs at least five times.
    """
    forwards = {name: caller(model, example_inputs) for name, model in models.items()}
    device = device_of(next(iter(models.values())))
    times: dict[str, list[float]] = {name: [] for name in models}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for model in models.values():
            stack.enter_context(evaluating(model))
        for forward in forwards.values():
            forward()  # the first run of each is slower
        begin = _now(device)
        while len(next(iter(times.values()))) < FEWEST_TURNS or _now(device) - begin < seconds:
            for name, forward in forwards.items():
                start = _now(device)
                forward()
                times[name].append(1e3 * (_now(device) - start))
    return {name: Latency.of(found) for name, found in times.items()}


def caller(model: nn.Module, inputs: Any) -> Callable[[], Any]:
    """Return what runs ``model`` on example inputs: a tensor, a tuple of arguments or a mapping of them."""
    args, kwargs = as_arguments(inputs)
    return lambda: model(*args, **kwargs)


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
