"""Allocation: which layer keeps how many weights. Importing this package registers all ways."""

from featherweight.sparsity.allocation import erk, global_, lamp, uniform
from featherweight.sparsity.allocation._base import Allocation, alive, allocations, apportion
from featherweight.sparsity.allocation.per_layer import AllocationLike, PerLayer, allocation_of
from featherweight.sparsity.allocation.sensitivity import BySensitivity, FromCurves, LossCurve

__all__ = [
    "Allocation",
    "AllocationLike",
    "BySensitivity",
    "FromCurves",
    "LossCurve",
    "PerLayer",
    "alive",
    "allocation_of",
    "allocations",
    "apportion",
    "erk",
    "global_",
    "lamp",
    "uniform",
]
