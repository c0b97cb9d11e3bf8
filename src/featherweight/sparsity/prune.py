"""Pruning in one call, without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from featherweight.core.masks import Masks
from featherweight.core.prunable import find_prunable
from featherweight.sparsity.allocation import AllocationLike
from featherweight.sparsity.criteria import Criterion
from featherweight.sparsity.patterns import Pattern
from featherweight.sparsity.recipe import Recipe
from featherweight.sparsity.replicas import Replicas
from featherweight.sparsity.same_memory import check_memory


def prune(
    model: nn.Module,
    sparsity: float = 0.9,
    *,
    criterion: str | Criterion = "magnitude",
    allocation: AllocationLike = "global",
    pattern: str | Pattern = "unstructured",
    data: Any = None,
    skip: Sequence[str] = (),
    seed: int = 0,
) -> Masks:
    """Set the least important weights of ``model`` to zero, in place, and return the masks.

    Exactly ``round((1 - sparsity) * n)`` of the ``n`` prunable weights are kept; with a pattern of blocks,
    fewer by less than a block. Embeddings, norms, biases and frozen parameters are left alone;
    ``masks.left_alone`` lists them with the reason. Under DDP all processes call this together, and get the
    masks of the first one.

    Args:
        model: the network, wrapped (DDP, torch.compile) or not.
        sparsity: fraction of the prunable weights to be zero afterwards, 0 <= sparsity < 1.
        criterion: how much a weight matters: a name, or a callable as in sparsity.criteria.
        allocation: how many weights each layer keeps: a name, a callable, or ``{name or pattern: sparsity}``
            for some layers, with which the others make the total.
        pattern: the shapes that zeros may have: a name such as "2:4", "1x4" or "per_output", or an object or
            function as in sparsity.patterns.
        data: handed to criteria that look at data.
        skip: names or patterns of parameters and modules to leave alone.
        seed: seed of everything random.

    Raises:
        SettingError: a setting is wrong, the model is sparser already, or the pattern does not allow so
            little sparsity.
        ModelError: there is nothing to prune, or a weight is NaN or shares a part of its memory with others.
    """
    recipe = Recipe(sparsity, criterion, allocation, pattern, skip, seed)
    prunable = find_prunable(model, recipe.skip)
    check_memory(model, prunable)
    zeros = Masks.from_zeros(model, recipe.skip)
    recipe.check_reachable(zeros, prunable)
    masks = recipe.masks(model, prunable, sparsity, data=data, before=zeros)
    masks = Replicas.of_wrapper(model).shared(masks)
    masks.apply(model)
    return masks
