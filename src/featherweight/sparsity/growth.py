"""Dropping and growing: masks move to other weights, while each layer keeps as many as before.

Of each layer's kept weights those of least magnitude are dropped, ``round(fraction * kept)`` of them. As many
grow, at random or where the gradient of the loss is largest in magnitude, among all that are not kept then.
Those just dropped are among them, as in the published code of SET and RigL; one that is chosen stays what it
was. Both choices are made by the recipe with scores and counts of its own, so that patterns and floors hold
as everywhere.

The gradients are those of the optimizer step before: masks lie beside a dense parameter, so autograd computes
them for pruned weights too. Scaling them (AMP, accumulation) does not change their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from featherweight.core.masks import Masks
from featherweight.core.prunable import Prunable, PrunableWeight
from featherweight.errors import TrainingError
from featherweight.sparsity.criteria import Context, Scores
from featherweight.sparsity.recipe import Recipe
from featherweight.sparsity.schedules import Growth

_STAYS = 2.0  # above every score for growth


@dataclass(frozen=True, eq=False)
class Mover:
    """Moves masks.

    Attributes:
        recipe: its pattern and seed are used.
        model: the network, whose pruned weights are zero.
        prunable: its prunable weights.
        never: masks whose pruned weights do not grow.
    """

    recipe: Recipe
    model: nn.Module
    prunable: Prunable
    never: Masks

    def moved(self, now: Masks, counts: Mapping[str, int], growth: Growth, step: int) -> Masks:
        """Return masks of ``counts``, in which some weights of ``now`` were dropped and others grew.

        Patterns that keep several weights together may miss a count by less than their granularity.

        Args:
            now: the masks so far.
            counts: how many weights of each layer are kept.
            growth: how many move, and where to.
            step: number of the optimizer step; with the seed it determines what is random.

        Raises:
            TrainingError: growth is by gradient, and a weight has none or one that is not finite.
        """
        scores = {weight.name: self._scores(weight, growth, step) for weight in self.prunable.weights}
        left = {name: mask.kept - round(growth.fraction * mask.kept) for name, mask in now.items()}
        stays = self._masks(self._magnitudes(), left, now)
        for name, score in scores.items():
            score.masked_fill_(stays[name].keep.to(score.device), _STAYS)
        return self._masks(scores, counts, self.never)

    def _masks(self, scores: Scores, counts: Mapping[str, int], before: Masks) -> Masks:
        """Return the masks that the recipe's pattern makes of given scores and counts."""

        def criterion(weights: Mapping[str, Tensor], context: Context) -> Scores:
            return scores

        def allocation(scores: Scores, kept: int) -> dict[str, int]:
            return dict(counts)

        given = replace(self.recipe, criterion=criterion, allocation=allocation)
        sparsity = 1 - sum(counts.values()) / self.prunable.numel
        return given.masks(self.model, self.prunable, sparsity, before=before)

    def _magnitudes(self) -> Scores:
        return {weight.name: weight.tensor.detach().abs().float() for weight in self.prunable.weights}

    def _scores(self, weight: PrunableWeight, growth: Growth, step: int) -> Tensor:
        """Return scores in 0..1 of the weight's shape; the highest grow."""
        if growth.by == "gradient":
            return _gradient(weight, step)
        generator = Context(self.model, seed=self.recipe.seed).generator(f"{weight.name} {step}")
        return torch.rand(weight.tensor.shape, generator=generator).to(weight.tensor.device)


def forget(optimizers: Sequence[Optimizer], weight: PrunableWeight, places: Tensor) -> None:
    """Zero what the optimizers remember of single weights: every float tensor of the weight's shape.

    Args:
        optimizers: those that may hold the weight.
        weight: the weight.
        places: bool, of the weight's shape; True where to forget.
    """
    states = [optimizer.state.get(weight.tensor, {}) for optimizer in optimizers]
    for value in (value for state in states for value in state.values()):
        if not isinstance(value, Tensor) or value.shape != weight.tensor.shape:
            continue
        if value.is_floating_point():
            value.masked_fill_(places.to(value.device), 0)


def _gradient(weight: PrunableWeight, step: int) -> Tensor:
    gradient = weight.tensor.grad
    if gradient is None:
        raise TrainingError(
            f"{weight.name} has no gradient after optimizer step {step}, where weights grow by it: the loss "
            f"does not depend on it, or .grad was set to None within the step (as by optimizers that step "
            f"inside backward). Call zero_grad after optimizer.step, leave the weight out with skip=, or "
            f"take schedule='set', which grows at random."
        )
    size = gradient.detach().abs().float()
    largest = size.max()
    if not bool(largest.isfinite()):  # NaN comes through max
        raise TrainingError(
            f"{weight.name}: the gradient of optimizer step {step} is not finite, and weights grow by it. "
            f"Did the loss diverge?"
        )
    return size / largest if bool(largest > 0) else size
