"""Schedules: when the sparsity grows. Importing this package registers them all."""

from featherweight.sparsity.schedules._base import Schedule, schedules
from featherweight.sparsity.schedules.cubic import Cubic
from featherweight.sparsity.schedules.iterative import Iterative
from featherweight.sparsity.schedules.linear import Linear
from featherweight.sparsity.schedules.one_shot import OneShot

__all__ = ["Cubic", "Iterative", "Linear", "OneShot", "Schedule", "schedules"]
