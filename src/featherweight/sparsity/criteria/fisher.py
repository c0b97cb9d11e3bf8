"""Diagonal Fisher: ``score = w^2 F / 2``, ``F`` the mean of ``g^2`` over the gradients of single examples.

What a weight's removal adds to the loss at a minimum, if the Hessian is diagonal (LeCun, Denker, Solla 1990,
Optimal Brain Damage, https://papers.nips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html),
with the empirical Fisher information in place of the Hessian (Theis, Korshunova, Tejani, Huszár 2018,
https://arxiv.org/abs/1801.05787). The square of the gradient of a batch would be something else, and less.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap  # pyright: ignore[reportPrivateImportUsage]
from torch.utils._pytree import tree_map

from featherweight.core.batches import device_of, moved
from featherweight.core.eager import eager
from featherweight.core.trace import evaluated
from featherweight.sparsity.calibration import Calibration, check_not_empty
from featherweight.sparsity.criteria._base import Context, Scores, criteria
from featherweight.sparsity.criteria._examples import Examples
from featherweight.sparsity.criteria._gradients import Leaves, OverData

AT_ONCE = 32  # examples whose gradients are held
_FLOATS = 2**25  # in these gradients at most: 128 MiB

Squares = dict[str, Tensor]


@dataclass(frozen=True)
class Fisher(OverData):
    """Score a weight by what its removal adds to the loss at a minimum: ``w^2 F / 2``, ``F`` diagonal.

    Batches are taken apart along axis 0. Each loss of a callable counts as an example.
    """

    def __call__(self, weights: Mapping[str, Tensor], context: Context) -> Scores:
        """Return the scores; raises SettingError if there are no data, or they cannot be taken apart."""
        data, leaves = self.data_of(context, "fisher"), Leaves.of(weights, context.model)
        if data.has_batches:
            information = _Information(leaves, data).over(self.batches)
        else:
            information = leaves.mean(data.losses(leaves.model, self.batches), partial(_squared, leaves))
        return {name: weights[name].float().square() * f / 2 for name, f in information.items()}


def _squared(leaves: Leaves, loss: Tensor) -> Squares:
    return {name: gradient.square() for name, gradient in leaves.gradients(loss).items()}


class _Loss(nn.Module):
    """The loss of a batch as a module, whose parameters can be handed over."""

    def __init__(self, model: nn.Module, data: Calibration) -> None:
        super().__init__()
        self.model, self.data = model, data

    def forward(self, batch: Any) -> Tensor:
        return self.data.pass_of(self.model, batch).loss


class _Information:
    """Squared gradients of single examples, many at once where the operations of the network allow it."""

    def __init__(self, leaves: Leaves, data: Calibration) -> None:
        self.leaves, self.data, self.loss = leaves, data, _Loss(leaves.model, data)
        numel = sum(tensors[0].numel() for tensors in leaves.tensors.values())
        self.at_once = max(1, min(AT_ONCE, _FLOATS // numel))

    def over(self, batches: int | None) -> Squares:
        """Return the mean over the examples of ``batches``."""
        total, number = self.leaves.zeros(), 0
        with evaluated(self.leaves.model):
            for batch in self.data.batches(batches):
                examples = Examples.of(moved(batch, device_of(self.leaves.model)), "criterion='fisher'")
                for part in examples.parts(self.at_once):
                    with torch.inference_mode(False), torch.enable_grad(), eager():
                        squares = self.squares(part)
                    number += part.number
                    for name, square in squares.items():
                        total[name] += square
        check_not_empty(number)
        return {name: value / number for name, value in total.items()}

    def squares(self, part: Examples) -> Squares:
        """Return the sums over the examples of ``part``."""
        if self.at_once > 1:
            try:
                return self._together(part)
            except Exception:  # vmap refuses in many ways; what is wrong with the batch fails again below
                self.at_once = 1
        total = self.leaves.zeros()
        for example in part.parts(1):
            for name, square in _squared(self.leaves, self.loss(example.batch)).items():
                total[name] += square
        return total

    def _together(self, part: Examples) -> Squares:
        def batched(leaf: Any, dim: int | None) -> Any:
            return leaf if dim is None else leaf.unsqueeze(0)

        def loss(weights: dict[str, Tensor], example: Any) -> Tensor:
            batch = tree_map(batched, example, part.dims)
            given = {
                f"model.{each}": weights[name] for name, names in self.leaves.tied.items() for each in names
            }
            return functional_call(self.loss, given, (batch,))

        weights = {name: tensors[0].detach() for name, tensors in self.leaves.tensors.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an operation that is taken an example at a time is as right
            found = vmap(grad(loss), in_dims=(None, part.dims))(weights, part.batch)
        return {name: gradient.float().square().sum(0) for name, gradient in found.items()}


criteria.register("fisher")(Fisher())
