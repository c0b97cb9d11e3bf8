"""Schedules: when the sparsity grows. Importing this package registers them all."""

from featherweight.sparsity.schedules._base import Growth, Schedule, schedule_of, schedules
from featherweight.sparsity.schedules.acdc import ACDC
from featherweight.sparsity.schedules.cubic import Cubic
from featherweight.sparsity.schedules.iterative import Iterative
from featherweight.sparsity.schedules.linear import Linear
from featherweight.sparsity.schedules.one_shot import OneShot
from featherweight.sparsity.schedules.rigl import RigL
from featherweight.sparsity.schedules.set_ import SET

__all__ = [
    "ACDC",
    "SET",
    "Cubic",
    "Growth",
    "Iterative",
    "Linear",
    "OneShot",
    "RigL",
    "Schedule",
    "schedule_of",
    "schedules",
]
