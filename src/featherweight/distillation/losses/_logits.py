"""What the losses on logits share."""

from __future__ import annotations

import math

from torch import Tensor

from featherweight.distillation.losses._base import View
from featherweight.errors import ModelError, SettingError


def check_temperature(value: float) -> float:
    """Return ``value``; raises SettingError unless it is a finite number above 0."""
    if not (value > 0 and math.isfinite(value)):
        raise SettingError(f"temperature is a finite number above 0, got {value!r}.")
    return float(value)


def both_logits(student: View, teacher: View) -> tuple[Tensor, Tensor]:
    """Return the logits of both in float32; raises ModelError where they are missing or differ in shape."""
    own, goal = student.logits, teacher.logits
    if own is None or goal is None:
        which = "student" if own is None else "teacher"
        raise ModelError(f"The {which}'s output has no logits, and this loss compares logits.")
    if own.shape != goal.shape:
        raise ModelError(
            f"Student and teacher must tell the same classes: their logits are {tuple(own.shape)} and "
            f"{tuple(goal.shape)}."
        )
    return own.float(), goal.float()
