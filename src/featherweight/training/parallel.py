"""The one place that talks to Accelerate: processes, devices, what is shared between them."""

from __future__ import annotations

import atexit
import gc
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import (
    DataLoaderConfiguration,
    DistributedType,
    broadcast,
    broadcast_object_list,
    gather_object,
)
from torch import Tensor, nn

from featherweight.errors import TrainingError
from featherweight.training.streams import epoch_seed

_LETTING_GO = 0.2  # seconds
_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


def make_accelerator(seed: int) -> Accelerator:
    """Return an Accelerator whose data order follows from ``seed``.

    Several processes on the CPU are started by torchrun, or by ``accelerate launch --multi_gpu`` on a machine
    without a GPU; ``accelerate launch --cpu`` starts one, unless mpirun does.

    Its mixed precision stays unused (``precision.autocast`` does that): Accelerate keeps it in a global
    that is fixed when first set, and patches ``model.forward``.

    Raises:
        TrainingError: the launcher asked for a sharded model, or the processes do not find each other.
    """
    order = DataLoaderConfiguration(use_seedable_sampler=True, data_seed=epoch_seed(seed, 0, 0))
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    joined_before = _is_joined()
    # Under torchrun without a GPU, Accelerate joins the processes only when told to use the CPU.
    accelerator = Accelerator(
        cpu=launched > 1 and not torch.accelerator.is_available(), dataloader_config=order
    )
    if _is_joined() and not joined_before:
        atexit.register(_leave)
    if accelerator.num_processes < launched:
        raise TrainingError(
            f"The launcher started {launched} processes, but Accelerate was set up before for "
            f"{accelerator.num_processes}: each would train by itself. Make no Accelerator before fit, or "
            f"make it with cpu=True."
        )
    accelerator.native_amp, accelerator.scaler = False, None
    if accelerator.distributed_type in _SHARDED:
        raise TrainingError(
            f"fit trains whole models, in one process or in several (DDP); "
            f"{accelerator.distributed_type.value} shards them. Launch with --multi_gpu, --cpu or torchrun."
        )
    return accelerator


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _leave() -> None:
    """Leave the group of processes that fit joined.

    Threads of gloo that still hold a tensor when Python ends abort the process (pytorch/pytorch#179291). They
    are joined when nothing refers to the group any more, and what does (DDP) lies in cycles. Should something
    else refer to it, they get the time, and Python's lock, to let go of their tensors.
    """
    if _is_joined():
        dist.destroy_process_group()
    gc.collect()
    time.sleep(_LETTING_GO)


def unsynced(accelerator: Accelerator, model: nn.Module, apart: bool) -> AbstractContextManager[Any]:
    """Return a context in which gradients stay on their process if ``apart``."""
    return accelerator.no_sync(model) if apart else nullcontext()


def mean(accelerator: Accelerator, value: float) -> float:
    """Return the mean of ``value`` over the processes."""
    if accelerator.num_processes == 1:
        return value
    total = accelerator.reduce(torch.tensor(value, dtype=torch.float64, device=accelerator.device), "mean")
    return float(total)  # pyright: ignore[reportArgumentType]


def gathered(accelerator: Accelerator, outputs: Any) -> Any:
    """Return ``outputs`` of all processes in the order of the data, without the examples that fill up."""
    return outputs if accelerator.num_processes == 1 else accelerator.gather_for_metrics(outputs)


def from_each(accelerator: Accelerator, value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return ``value`` of each process, in order."""
    return [value] if accelerator.num_processes == 1 else gather_object([value])


def share_buffers(accelerator: Accelerator, model: nn.Module) -> None:
    """Give every process the buffers (running statistics) of the first."""
    if accelerator.num_processes > 1:
        for buffer in model.buffers():
            buffer.copy_(broadcast(buffer.detach()))  # pyright: ignore[reportArgumentType]


def of_first(accelerator: Accelerator, value: dict[str, Any]) -> dict[str, Any]:
    """Return ``value`` of the first process; its tensors lie on the CPU."""
    return value if accelerator.num_processes == 1 else broadcast_object_list([value])[0]


def average_gradients(accelerator: Accelerator, parameters: Sequence[nn.Parameter]) -> None:
    """Give the gradients of ``parameters`` their mean over the processes, in one message.

    What DDP does for the parameters of a model; without a gradient on any process, one stays without.
    """
    if accelerator.num_processes == 1 or not parameters:
        return
    there = torch.tensor([float(p.grad is not None) for p in parameters], device=accelerator.device)
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).float().flatten() for p in parameters]
    means = accelerator.reduce(torch.cat([*parts, there]), "mean")
    assert isinstance(means, Tensor)
    *grads, there = means.split([p.numel() for p in parameters] + [len(parameters)])
    for parameter, grad, some in zip(parameters, grads, there.tolist(), strict=True):
        if some:
            parameter.grad = grad.view(parameter.shape).to(parameter.dtype)
