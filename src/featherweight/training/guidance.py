"""What the training loop asks of whatever makes the loss of a batch and learns along with the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Guidance(Protocol):
    """An object that makes the training loss of a batch, and may have parameters of its own.

    Every ``nn.Module`` with ``loss``, ``set_progress`` and ``fingerprint`` is one. The model that is trained
    is no part of it.
    """

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the loss of ``batch``, a scalar; ``outputs`` are the model's of just now, in float32."""
        ...

    def set_progress(self, fraction: float) -> Any:
        """Hear, before each batch, how much of the run is done: 0 at the first step, below 1 at the last."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return what the optimizer trains with the model; may be empty."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Hear that training begins."""
        ...

    def to(self, device: torch.device, /) -> Any:
        """Move to ``device``, where the batches are; the parameters stay the same objects."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors, numbers and strings, which ``weights_only=True`` reads."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Go on from ``state``."""
        ...

    def fingerprint(self) -> str:
        """Return the settings in words, the same in every process: a checkpoint of others is refused."""
        ...


def parameters_of(guidance: Guidance | None) -> list[nn.Parameter]:
    """Return the parameters of ``guidance`` that train; none without one."""
    return [] if guidance is None else [p for p in guidance.parameters() if p.requires_grad]


def state_of(guidance: Guidance | None) -> dict[str, Any] | None:
    """Return a copy of its state on the CPU, which any process can read; None without one."""
    if guidance is None:
        return None
    state = guidance.state_dict()
    return {k: v.detach().cpu().clone() if isinstance(v, Tensor) else v for k, v in state.items()}
