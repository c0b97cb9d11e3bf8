"""``profile``: parameters, nonzeros, MACs, bytes and milliseconds, a row a layer."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.batches import device_of
from featherweight.core.prunable import unwrap
from featherweight.errors import ModelError, SettingError
from featherweight.profile.latency import caller, time_forward, time_layers
from featherweight.profile.macs import count_macs, following
from featherweight.profile.params import check_has_values
from featherweight.profile.records import LayerProfile, Profile


def profile(model: nn.Module, example_inputs: Any, *, repeats: int = 20, warmup: int = 3) -> Profile:
    """Measure a network on example inputs, in evaluation mode without gradients.

    A row a module that has parameters or buffers of its own or multiplies: convolution, linear, attention,
    recurrent and embedding layers, norms.

    Args:
        model: the network; its training mode is as before afterwards. Of a compiled or data-parallel
            one, the module inside is measured.
        example_inputs: on the model's device; a tensor, a tuple of positional arguments or a mapping of
            keyword arguments.
        repeats: forward passes that are timed, at least 2.
        warmup: passes before that.

    Raises:
        SettingError: ``repeats`` or ``warmup`` is too small.
        ModelError: the forward pass fails, naming the module that it failed in; or parameters have no values.
    """
    if repeats < 2 or warmup < 0:
        raise SettingError(f"repeats is at least 2 and warmup at least 0, got {repeats} and {warmup}.")
    inner = unwrap(model)
    check_has_values(inner)
    forward = caller(inner, example_inputs)
    training = [module for module in inner.modules() if module.training]
    device = device_of(inner)
    inner.eval()
    try:
        with torch.no_grad():  # not inference_mode: what the model keeps must stay fit for training
            with _eager():
                _check_runs(inner, forward)
                macs, uncounted = count_macs(inner, forward)
                layers = time_layers(inner, forward, device, repeats)
            latency = time_forward(forward, device, repeats, warmup)
    finally:
        for module in training:
            module.training = True
    rows = tuple(_rows(inner, macs, layers))
    return Profile(rows, latency, _batch(example_inputs), _machine(device), uncounted)


def _eager() -> AbstractContextManager[Any]:
    """Run compiled parts as they were before: hooks inside them would be compiled too.

    Where nothing was compiled the compiler is not imported, which would take seconds.
    """
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def _check_runs(model: nn.Module, forward: Callable[[], Any]) -> None:
    """Run once; on failure say which module it was in."""
    inside: list[str] = []
    try:
        with following(model, inside):
            forward()
    except Exception as error:
        where = f"module {inside[-1]!r}" if inside and inside[-1] else "the model's own forward"
        raise ModelError(
            f"The forward pass of {type(model).__name__} fails in {where}: {error}. "
            f"Do example_inputs have the shape and type that it takes?"
        ) from error


def _rows(model: nn.Module, macs: dict[str, int], latencies: dict[str, Any]) -> list[LayerProfile]:
    rows: list[LayerProfile] = []
    seen: set[int] = set()
    for name, module in model.named_modules():
        params = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        buffers = [b for b in module.buffers(recurse=False) if id(b) not in seen]
        seen.update(map(id, [*params, *buffers]))
        if params or buffers or macs.get(name):
            row = LayerProfile(
                name.replace("._orig_mod", ""),  # of a compiled part
                type(module).__name__,
                params=sum(p.numel() for p in params),
                nonzeros=sum(int(torch.count_nonzero(p.detach())) for p in params),
                macs=macs.get(name, 0),
                bytes=sum(t.numel() * t.element_size() for t in [*params, *buffers]),
                latency=latencies.get(name),
            )
            rows.append(row)
    return rows


def _batch(inputs: Any) -> int:
    values = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    first = values[0] if isinstance(values, (tuple, list)) and values else values
    return int(first.shape[0]) if isinstance(first, Tensor) and first.ndim else 1


def _machine(device: torch.device) -> dict[str, str]:
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
