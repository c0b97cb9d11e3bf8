"""Which weights are left at a level: a fraction of what was left goes, smallest magnitudes first.

Of n weights ``round(n (1 - fraction)^level)`` are left, whatever the training made of them; an output layer
with a fraction of its own is counted apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.core.prunable import Prunable, PrunableWeight, find_prunable
from featherweight.errors import SettingError
from featherweight.sparsity.allocation import Allocation, allocations
from featherweight.sparsity.recipe import Recipe

if TYPE_CHECKING:
    from featherweight.sparsity.lottery.experiment import Experiment


@dataclass(frozen=True)
class Left:
    """How many weights are kept at a level.

    Attributes:
        total: of all prunable weights.
        output: of those, in the last layer; None where it is not set apart.
    """

    total: int
    output: int | None


def left_at(experiment: Experiment, prunable: Prunable, level: int) -> Left:
    """Return how many weights are kept at ``level``; all of them at level 0."""
    kept = (1 - experiment.fraction) ** level
    if experiment.output_fraction is None:
        return Left(round(prunable.numel * kept), None)
    output = _output(prunable).tensor.numel()
    of_output = round(output * (1 - experiment.output_fraction) ** level)
    return Left(round((prunable.numel - output) * kept) + of_output, of_output)


def check_levels(experiment: Experiment, prunable: Prunable) -> None:
    """Raise SettingError if the last level leaves less than a weight for each layer and output."""
    output = _output(prunable)
    outputs = output.tensor.shape[output.output_dim]
    left = left_at(experiment, prunable, experiment.levels)
    least = len(prunable.weights) - 1 + outputs
    if left.total < least or (left.output is not None and left.output < outputs):
        raise SettingError(
            f"levels={experiment.levels} leaves {left.total:,} of {prunable.numel:,} weights, fewer than one "
            f"for each layer and each of the {outputs} outputs ({least}). Ask for fewer levels."
        )


def whole(model: nn.Module, experiment: Experiment) -> Masks:
    """Return masks that keep everything."""
    prunable = find_prunable(model, experiment.skip)
    ones = {w.name: Mask(torch.ones_like(w.tensor, dtype=torch.bool)) for w in prunable.weights}
    return Masks(ones, prunable.left_alone)


def pruned(model: nn.Module, experiment: Experiment, level: int, before: Masks) -> Masks:
    """Return the masks at ``level``: of the weights kept ``before``, those of largest magnitude.

    Raises:
        ModelError: a weight is NaN.
    """
    prunable = find_prunable(model, experiment.skip)
    left = left_at(experiment, prunable, level)
    recipe = Recipe(allocation=_allocation(experiment, prunable, left), skip=experiment.skip)
    return recipe.masks(model, prunable, 1 - left.total / prunable.numel, before=before)


def _allocation(experiment: Experiment, prunable: Prunable, left: Left) -> Allocation:
    named = experiment.allocation
    inner = allocations[named] if isinstance(named, str) else named
    if left.output is None:
        return inner
    return OutputApart(inner, _output(prunable).name, left.output)


@dataclass(frozen=True)
class OutputApart:
    """An allocation that keeps ``kept`` weights of ``output``, and shares the rest as ``inner`` does."""

    inner: Allocation
    output: str
    kept: int

    def __call__(self, scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
        """Return how many weights each layer keeps."""
        others = {name: score for name, score in scores.items() if name != self.output}
        counts = self.inner(others, kept - self.kept)
        return {name: counts.get(name, self.kept) for name in scores}


def _output(prunable: Prunable) -> PrunableWeight:
    return next(weight for weight in prunable.weights if weight.is_output)
