"""What the losses on logits share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from featherweight.distillation.losses._base import View
from featherweight.distillation.projectors import in_float32
from featherweight.errors import ModelError, SettingError


def check_temperature(value: float) -> float:
    """Return ``value``; raises SettingError unless it is a finite number above 0."""
    if not (isinstance(value, int | float) and 0 < value < math.inf):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(f"temperature is a finite number above 0, got {value!r}.")
    return float(value)


def check_weights(**values: float) -> tuple[float, ...]:
    """Return the weights of a loss's parts; raises SettingError unless finite, 0 or above, and not all 0."""
    for name, value in values.items():
        if not (isinstance(value, int | float) and 0 <= value < math.inf):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SettingError(f"{name} is a finite number, 0 or above, got {value!r}.")
    if not any(values.values()):
        raise SettingError(f"{' and '.join(values)} are all 0: nothing is left of the loss.")
    return tuple(float(value) for value in values.values())


def both_logits(student: View, teacher: View) -> tuple[Tensor, Tensor]:
    """Return the logits of both, in float32 or float64, the teacher's detached.

    Raises:
        ModelError: they are missing or differ in shape.
    """
    own, goal = student.logits, teacher.logits
    if own is None or goal is None:
        which = "student" if own is None else "teacher"
        raise ModelError(f"The {which}'s output has no logits, and this loss compares logits.")
    if own.shape != goal.shape:
        raise ModelError(
            f"Student and teacher must tell the same classes: their logits are {tuple(own.shape)} and "
            f"{tuple(goal.shape)}."
        )
    return in_float32(own), in_float32(goal).detach()


def divergences(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(q || p) of each row, (n,); where q is 0, as of a forbidden class, it adds nothing."""
    q = log_q.exp()
    return torch.where(q > 0, q * (log_q - log_p), 0).sum(1)


def class_logits(student: View, teacher: View, *, least: int = 2) -> tuple[Tensor, Tensor]:
    """Return ``both_logits`` of networks that tell one class per example.

    Raises:
        ModelError: of other networks, or where there are fewer classes than ``least``: the softmax of a
            single logit is 1, whatever it is.
    """
    own, goal = both_logits(student, teacher)
    if own.dim() != 2:
        instead = {3: "logits per token have the loss 'token'", 4: "maps can be compared as features"}
        raise ModelError(
            f"This loss compares logits (n, classes), got {tuple(own.shape)}"
            f"{''.join(f': {what}' for what in [instead.get(own.dim())] if what)}."
        )
    if own.shape[1] < least:
        raise ModelError(
            f"This loss needs logits of two classes or more, got {tuple(own.shape)}: a single logit has the "
            f"loss 'mse'."
        )
    return own, goal
