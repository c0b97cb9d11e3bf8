"""The course of the learning rate over a run, as a factor of the highest rate.

A rate is a function (progress, warmup) -> factor, both in 0..1. A new one is a function and a row of RATES.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Rate = Callable[[float, float], float]


def one_cycle(progress: float, warmup: float) -> float:
    """Climb from 1/25 to 1 over ``warmup``, then fall to 0 along a cosine (arXiv:1708.07120)."""
    if progress < warmup:
        return 0.04 + 0.96 * _half_cosine(1 - progress / warmup)
    return _half_cosine((progress - warmup) / (1 - warmup)) if warmup < 1 else 1.0


def cosine(progress: float, warmup: float) -> float:
    """Fall from 1 to 0 along a cosine, from the start (arXiv:1608.03983)."""
    return _half_cosine(progress)


def constant(progress: float, warmup: float) -> float:
    """Stay at 1."""
    return 1.0


RATES: dict[str, Rate] = {"one_cycle": one_cycle, "cosine": cosine, "constant": constant}


def make_scheduler(rate: str, warmup: float, optimizer: Optimizer, steps: int) -> LambdaLR:
    """Return the schedule called ``rate`` over ``steps`` optimizer steps."""
    course = RATES[rate]
    return LambdaLR(optimizer, lambda step: course(step / max(1, steps), warmup))


def _half_cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * min(progress, 1.0))) / 2
