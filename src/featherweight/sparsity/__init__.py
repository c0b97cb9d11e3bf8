"""Which weights become zero, and how they stay zero while training goes on."""

from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.sparsity import allocation, criteria, patterns, schedules
from featherweight.sparsity.prune import prune
from featherweight.sparsity.pruner import Pruner
from featherweight.sparsity.recipe import Recipe
from featherweight.sparsity.semi_structured import to_semi_structured

__all__ = [
    "Mask",
    "Masks",
    "Pruner",
    "Recipe",
    "allocation",
    "criteria",
    "patterns",
    "prune",
    "schedules",
    "to_semi_structured",
]
