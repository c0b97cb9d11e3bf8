"""Allocation: which layer keeps how many weights. Importing this package registers all ways."""

from featherweight.sparsity.allocation import erk, global_, lamp, uniform
from featherweight.sparsity.allocation._base import Allocation, alive, allocations, apportion

__all__ = ["Allocation", "alive", "allocations", "apportion", "erk", "global_", "lamp", "uniform"]
