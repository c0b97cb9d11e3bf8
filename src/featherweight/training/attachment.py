"""What the training loop asks of a pruner, or of anything else that changes weights after a step."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch.optim import Optimizer


@runtime_checkable
class Attachment(Protocol):
    """An object that works on the model after each optimizer step, from ``attach`` to ``detach``.

    Two optional methods are called where they exist: ``plan(total_steps: int)``, once before ``attach``, with
    the number of optimizer steps of the run; and ``fingerprint() -> str``, the settings in words, so that a
    checkpoint of a run with other settings is refused.
    """

    @property
    def ready(self) -> bool:
        """Whether the model may be chosen now (the target sparsity is reached)."""
        ...

    @property
    def sparsity(self) -> float:
        """Fraction of zeros now, 0..1."""
        ...

    def attach(self, optimizer: Optimizer) -> None:
        """Work on the model after each step of ``optimizer``, a plain torch optimizer, from now on."""
        ...

    def detach(self) -> None:
        """Stop; must be harmless when nothing is attached."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors, numbers and strings, which ``weights_only=True`` reads."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from ``state``; the model holds the weights that belong to it."""
        ...


def fingerprint(attachment: Attachment | None) -> str | None:
    """Return the settings of ``attachment`` in words; its class where it does not tell them."""
    if attachment is None:
        return None
    tell = getattr(attachment, "fingerprint", None)
    return str(tell()) if callable(tell) else type(attachment).__name__


def plan(attachment: Attachment | None, total_steps: int) -> None:
    """Tell ``attachment`` how many optimizer steps the run has, if it wants to know."""
    method = getattr(attachment, "plan", None)
    if callable(method):
        method(total_steps)
