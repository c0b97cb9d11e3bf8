"""Zeros of a pruned student, held while it learns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from featherweight.core.hold import Held
from featherweight.core.masks import Masks
from featherweight.errors import ModelError


def zeros_of(model: nn.Module) -> Masks | None:
    """Return the masks that the zeros of a pruned ``model`` make; None where it has none.

    A weight that is zero throughout was initialised so, to be trained, and is not taken for a pruned one.
    """
    try:
        found = Masks.from_zeros(model)
    except ModelError:  # nothing in it is pruned, ever
        return None
    pruned = {name: mask for name, mask in found.items() if 0 < mask.kept < mask.numel}
    return Masks(pruned, found.left_alone) if pruned else None


class HeldZeros:
    """Keeps the zeros of one model after each step; give it to ``fit`` as ``pruner=``."""

    ready = True

    def __init__(self, model: nn.Module, masks: Masks) -> None:
        """Take the model that is trained, and the masks of its zeros."""
        self.model, self.masks = model, masks
        self._held: list[Held] = []
        self._handle: Any = None

    @property
    def sparsity(self) -> float:
        """Fraction of the masked weights that are zero, 0..1."""
        return self.masks.sparsity

    def attach(self, optimizer: Optimizer) -> None:
        """Set the zeros again after each step of ``optimizer``, and now."""
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
        digest = hashlib.sha256()
        for name, mask in self.masks.items():
            digest.update(name.encode() + mask.keep.cpu().numpy().tobytes())
        return f"zeros held: {self.masks.numel - self.masks.kept:,}, {digest.hexdigest()[:16]}"

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the zeros are those of the model that the run began with."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Set the zeros again."""
        self._hold()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._hold()

    def _hold(self) -> None:
        if not self._held or not all(weight.fits for weight in self._held):  # model.to(...) since
            self._held = [Held.of(weight, pruned) for weight, pruned in self.masks.bind(self.model)]
        for weight in self._held:
            weight.zero_()
