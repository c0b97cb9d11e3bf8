"""Movement: ``score = -sum over steps of rate * w * g``, with ``g = dL/dw`` of the step.

High where training moves a weight away from zero, low where it moves it towards zero: for fine-tuning a
network that was trained on something else, of which magnitudes say little (Sanh, Wolf, Rush 2020,
https://arxiv.org/abs/2005.07683, hard movement pruning). It learns while the network trains, so it needs a
``Pruner``. A weight that was pruned stays pruned here; in the paper its score goes on moving.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.criteria._base import Context, Scores, criteria


class Movement:
    """Score a weight by how far training moved it away from zero: ``-sum of rate * w * dL/dw``.

    It learns: a ``Pruner`` takes a ``fresh`` one, and lets it ``observe`` each step.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def __repr__(self) -> str:
        return "Movement()"

    def fresh(self) -> Movement:
        """Return one that has seen nothing."""
        return Movement()

    def observe(self, weights: Mapping[str, Tensor], rate: float) -> None:
        """Learn of the step that is about to be taken.

        Args:
            weights: by name, with their gradients; one without a gradient is passed over.
            rate: the learning rate of the step.
        """
        with torch.no_grad():
            for name, weight in weights.items():
                if weight.grad is not None:
                    product = weight.detach().float() * weight.grad.float()
                    self._sums[name] = self._sum_of(name, weight).sub_(product, alpha=rate)

    def __call__(self, weights: Mapping[str, Tensor], context: Context) -> Scores:
        """Return the scores.

        Raises:
            SettingError: no step was observed.
            ModelError: some weights were never observed.
        """
        if not self._sums:
            raise SettingError(
                "criterion='movement' learns while the network trains, and saw no step yet: use a Pruner (or "
                "progressive_prune) with a schedule that begins later. Without training, 'taylor' looks at "
                "the same product."
            )
        if unknown := [name for name in weights if name not in self._sums]:
            raise ModelError(
                f"criterion='movement' saw no gradient of {unknown[0]}, so it has no score. Does the "
                f"optimizer train it? If not, leave it alone with skip=."
            )
        return {name: self._sum_of(name, weight).clone() for name, weight in weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return what was learned: tensors by name."""
        return {name: total.clone() for name, total in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``."""
        self._sums = {name: total.clone() for name, total in state.items()}

    def _sum_of(self, name: str, weight: Tensor) -> Tensor:
        if name in self._sums:
            return self._sums[name].to(weight.device)
        return torch.zeros_like(weight, dtype=torch.float32, requires_grad=False)


criteria.register("movement")(Movement())
