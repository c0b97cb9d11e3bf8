"""Masks that do not change, held while a network trains."""

from __future__ import annotations

import hashlib
from typing import Any

from torch import nn
from torch.optim import Optimizer

from featherweight.core.hold import Held
from featherweight.core.masks import Masks


class Holding:
    """What ``fw.fit`` takes as ``pruner=``: zeros stay zero, and which they are does not change.

    Unlike a ``Pruner`` it computes no masks and keeps no layer or output alive: what a mask has cut off stays
    cut off.
    """

    ready = True

    def __init__(self, model: nn.Module, masks: Masks) -> None:
        """Bind masks to the model that is trained; raises MaskError if they do not fit."""
        masks.bind(model)
        self.model, self.masks = model, masks
        self.step = 0
        self._held: list[Held] | None = None
        self._handle: Any = None

    @property
    def sparsity(self) -> float:
        """Fraction of the masked weights that is zero, 0..1."""
        return self.masks.sparsity

    def attach(self, optimizer: Optimizer) -> None:
        """Set the masked weights to zero, now and after each step of ``optimizer``."""
        self.detach()
        self._hold()
        self._handle = optimizer.register_step_post_hook(self._after_step)

    def detach(self) -> None:
        """Stop."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def fingerprint(self) -> str:
        """Return which zeros are held, in words."""
        content = hashlib.sha256()
        for name, mask in self.masks.items():
            content.update(name.encode())
            content.update(mask.keep.cpu().contiguous().numpy().tobytes())
        return f"zeros held: {self.masks.numel - self.masks.kept:,}, {content.hexdigest()[:16]}"

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps taken; the masks are those of the fingerprint."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from ``state``: the model has other weights now, so the zeros are set again."""
        self.step = int(state["step"])
        self._hold()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.step += 1
        self._hold()

    def _hold(self) -> None:
        if self._held is None or not all(weight.fits for weight in self._held):  # model.to(...) since
            bound = self.masks.bind(self.model)
            self._held = [Held.of(weight, pruned) for weight, pruned in bound if bool(pruned.any())]
        for weight in self._held:
            weight.zero_()
