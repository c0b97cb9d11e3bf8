"""Distillation losses, one file each. Importing this package registers them all."""

from featherweight.distillation.losses import kd
from featherweight.distillation.losses._base import (
    UNLABELLED,
    DistillationLoss,
    Heads,
    Lesson,
    View,
    losses,
)

__all__ = ["UNLABELLED", "DistillationLoss", "Heads", "Lesson", "View", "kd", "losses"]
