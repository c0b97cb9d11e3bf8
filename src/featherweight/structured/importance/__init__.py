"""Structured criteria: how much each unit of a group matters. Importing this package registers them all."""

from featherweight.structured.importance import bn_scale, fpgm, l1, l2, random, taylor
from featherweight.structured.importance._base import (
    Context,
    Importance,
    UnitScores,
    importances,
    over_slices,
    slices,
)
from featherweight.structured.importance.over_weights import importance_of, over_weights

__all__ = [
    "Context",
    "Importance",
    "UnitScores",
    "bn_scale",
    "fpgm",
    "importance_of",
    "importances",
    "l1",
    "l2",
    "over_slices",
    "over_weights",
    "random",
    "slices",
    "taylor",
]
