"""Masks that are the same in all processes that train copies of one network.

What a criterion or an allocation finds may differ between them: each process reads data of its own, and a
criterion of yours may draw random numbers. Masks would differ then, and the copies drift apart. So the masks
of the first process count for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.core.prunable import Prunable


@dataclass(frozen=True, eq=False)
class Replicas:
    """The processes that hold a copy of a network.

    Attributes:
        group: of torch.distributed; None where the network is in this process alone.
    """

    group: Any = None

    @classmethod
    def of_wrapper(cls, model: nn.Module) -> Replicas:
        """Return the processes that DistributedDataParallel shares ``model`` among, if it is wrapped so."""
        while hasattr(model, "_orig_mod"):
            model = model._orig_mod  # pyright: ignore[reportAssignmentType]
        parallel = isinstance(model, nn.parallel.DistributedDataParallel)
        return cls(_if_several(model.process_group)) if parallel else cls()

    @classmethod
    def of(cls, model: nn.Module, prunable: Prunable) -> Replicas:
        """Return the processes that hold the same network, wrapped or not.

        One that is not wrapped, or not yet, is taken for a copy if all processes of the default group have
        the same weights now. They all have to call this together.

        Args:
            model: the network.
            prunable: its prunable weights.
        """
        if (wrapped := cls.of_wrapper(model)).group is not None or not _is_joined():
            return wrapped
        if (group := _if_several(dist.group.WORLD)) is None:
            return cls()
        mine = _description(prunable)
        everyone: list[Any] = [None] * dist.get_world_size(group)
        dist.all_gather_object(everyone, mine, group=group)
        return cls(group if all(other == mine for other in everyone) else None)

    def shared(self, masks: Masks) -> Masks:
        """Return the masks of the first process; all have to call this together."""
        if self.group is None:
            return masks
        same = {name: Mask(self._of_first(mask.keep)) for name, mask in masks.items()}
        return Masks(same, masks.left_alone)

    def share(self, model: nn.Module) -> None:
        """Give parameters and buffers of ``model`` the first process's values; all call this together."""
        for tensor in () if self.group is None else (*model.parameters(), *model.buffers()):
            with torch.no_grad():
                tensor.copy_(self._of_first(tensor.detach()))

    def _of_first(self, tensor: Tensor) -> Tensor:
        on_gpu = dist.get_backend(self.group) == dist.Backend.NCCL
        device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else tensor.device
        sent = tensor.to(device, copy=True).reshape(-1).view(torch.uint8)  # not every backend sends bools
        dist.broadcast(sent, dist.get_global_rank(self.group, 0), group=self.group)
        return sent.view(tensor.dtype).view(tensor.shape).to(tensor.device)


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _if_several(group: Any) -> Any:
    return group if group is not None and dist.get_world_size(group) > 1 else None


def _description(prunable: Prunable) -> list[tuple[str, tuple[int, ...], int]]:
    """Return names, shapes and the sums of the bytes of all weights."""
    return [(w.name, tuple(w.tensor.shape), _sum_of_bytes(w.tensor.detach())) for w in prunable.weights]


def _sum_of_bytes(weight: Tensor) -> int:
    return int(weight.reshape(-1).view(torch.uint8).sum(dtype=torch.int64))
