"""Dropping and growing: masks move to other weights, while each layer keeps as many as before.

Of each layer's kept weights those of least magnitude are dropped, ``round(fraction * kept)`` of them. As many
grow, at random or where the gradient of the loss is largest in magnitude, among all that are not kept then.
Those just dropped are among them, as in the published code of SET and RigL; one that is chosen stays what it
was. Both choices are made by the recipe with scores and counts of its own, so that patterns and floors hold
as everywhere.

The gradients are those of the optimizer step before, as they were before it: masks lie beside a dense
parameter, so autograd computes them for pruned weights too. Scaling them (AMP, accumulation) does not change
their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.core.prunable import Prunable, PrunableWeight
from featherweight.core.rows import to_rows
from featherweight.errors import TrainingError
from featherweight.sparsity.criteria import Context, Scores
from featherweight.sparsity.patterns import row_pattern
from featherweight.sparsity.recipe import Recipe
from featherweight.sparsity.schedules import Growth
from featherweight.sparsity.step_gradients import StepGradients

_STAYS = 2.0  # above every score for growth


@dataclass(frozen=True, eq=False)
class Mover:
    """Moves masks.

    Attributes:
        recipe: its pattern and seed are used.
        model: the network, whose pruned weights are zero.
        prunable: its prunable weights.
        never: masks whose pruned weights do not grow.
        gradients: of the step before.
    """

    recipe: Recipe
    model: nn.Module
    prunable: Prunable
    never: Masks
    gradients: StepGradients

    def moved(self, now: Masks, counts: Mapping[str, int], growth: Growth, step: int) -> Masks:
        """Return masks of ``counts``, in which some weights of ``now`` were dropped and others grew.

        Patterns that keep several weights together may miss a count, and the total, by less than their
        granularity.

        Args:
            now: the masks so far.
            counts: how many weights of each layer are kept.
            growth: how many move, and where to.
            step: number of the optimizer step; with the seed it determines what is random.

        Raises:
            TrainingError: growth is by gradient, and a weight has none or one that is not finite.
        """
        scores = {weight.name: self._scores(weight, growth, step) for weight in self.prunable.weights}
        left = {weight.name: self._left(weight, now[weight.name], growth) for weight in self.prunable.weights}
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

    def _left(self, weight: PrunableWeight, mask: Mask, growth: Growth) -> int:
        """Return how many weights of a layer stay: no fewer than must."""
        dead = ~mask.keep.to(weight.tensor.device)
        size = weight.tensor.detach().abs().float().masked_fill(dead, -torch.inf)
        pattern, rows = row_pattern(self.recipe.pattern), to_rows(size, weight.output_dim, weight.groups)
        rows = pattern.restrict({weight.name: rows}, 0)[weight.name]
        units = rows.flatten(1) if weight.is_output else rows.reshape(1, -1)
        staying = units.scatter(1, units.argmax(1, keepdim=True), torch.inf).view(rows.shape)
        floor = pattern.floors({weight.name: staying}, 0)[weight.name]
        return max(floor, mask.kept - round(growth.fraction * mask.kept))

    def _magnitudes(self) -> Scores:
        return {weight.name: weight.tensor.detach().abs().float() for weight in self.prunable.weights}

    def _scores(self, weight: PrunableWeight, growth: Growth, step: int) -> Tensor:
        """Return scores in 0..1 of the weight's shape; the highest grow."""
        if growth.by == "gradient":
            return _relative(self.gradients.take(weight.name), weight, step)
        generator = Context(self.model, seed=self.recipe.seed).generator(f"{weight.name} {step}")
        return torch.rand(weight.tensor.shape, generator=generator).to(weight.tensor.device)


def counts_of(masks: Masks, never: Masks, kept: int) -> dict[str, int]:
    """Return how many weights each layer keeps while masks move, ``kept`` in all.

    As many as in ``masks``; what a pattern of blocks could not use goes to the first layer with room for
    it, or each move would round down again.

    Args:
        masks: what is kept now.
        never: masks whose pruned weights do not grow.
        kept: how many weights were to be kept.
    """
    counts, missing = {name: mask.kept for name, mask in masks.items()}, kept - masks.kept
    for name, count in counts.items():
        more = max(0, min(missing, never[name].kept - count))
        counts[name] += more
        missing -= more
    return counts


def forget(optimizers: Sequence[Optimizer], parameters: Sequence[nn.Parameter], places: Tensor) -> None:
    """Zero what the optimizers remember of single weights: every float tensor of the weight's shape.

    Args:
        optimizers: those that may hold the weight.
        parameters: over the memory of the weight: several objects where it is shared.
        places: bool, of the weight's shape; True where to forget.
    """
    states = [optimizer.state.get(each, {}) for optimizer in optimizers for each in parameters]
    for value in (value for state in states for value in state.values()):
        if not isinstance(value, Tensor) or value.shape != places.shape:
            continue
        if value.is_floating_point():
            value.masked_fill_(places.to(value.device), 0)


def _relative(size: Tensor | None, weight: PrunableWeight, step: int) -> Tensor:
    """Return ``|gradient|`` over its largest entry, in place."""
    if size is None:
        raise TrainingError(
            f"{weight.name} has no gradient after optimizer step {step}, where weights grow by it: the loss "
            f"does not depend on it, or .grad was set to None within the step (as by optimizers that step "
            f"inside backward). Call zero_grad after optimizer.step, leave the weight out with skip=, or "
            f"take schedule='set', which grows at random."
        )
    largest = size.max()
    if not bool(largest.isfinite()):  # NaN comes through max
        raise TrainingError(
            f"{weight.name}: the gradient of optimizer step {step} is not finite, and weights grow by it. "
            f"Did the loss diverge?"
        )
    return size.div_(largest) if bool(largest > 0) else size
