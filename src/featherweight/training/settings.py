"""The settings of a training run, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from featherweight.errors import SettingError, TrainingError
from featherweight.training.rates import RATES

PRECISIONS = ("auto", "fp32", "bf16")


def _sgd(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    return SGD(groups, lr, momentum=0.9, nesterov=True)


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], float], Optimizer]] = {"sgd": _sgd, "adamw": AdamW}


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        epochs: passes over the training data.
        learning_rate: the highest rate.
        rate: its course: "one_cycle" (warm-up over ``warmup``, then cosine to zero), "cosine" (to zero,
            from the start) or "constant".
        warmup: fraction of the steps in which "one_cycle" climbs, 0..1; the other rates do not look at it.
        optimizer: "sgd" (Nesterov momentum 0.9) or "adamw".
        weight_decay: decay of parameters of two and more dimensions; norms and biases are not decayed.
        label_smoothing: of the default loss, 0..1.
        clip: largest gradient norm; None: not clipped.
        accumulate: batches a step.
        precision: "fp32", "bf16", or "auto": bf16 where ``accelerate launch`` asked for it or the machine
            multiplies it natively, else fp32.
        seed: of the data order, augmentation and dropout.
        checkpoint_every: steps between checkpoints within an epoch; None: at the end of each epoch only.
        ema_decay: of a moving average of the weights, 0 < ema_decay < 1, such as 0.999; the average is
            validated, chosen and left in the model in their place. At step n, from 0, it is at most
            (1 + n) / (10 + n). None: no average.

    Raises:
        SettingError: a value is out of range.
    """

    epochs: int = 5
    learning_rate: float = 0.05
    rate: str = "one_cycle"
    warmup: float = 0.25
    optimizer: str = "sgd"
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    clip: float | None = None
    accumulate: int = 1
    precision: str = "auto"
    seed: int = 0
    checkpoint_every: int | None = None
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        _at_least("epochs", self.epochs, 1)
        _at_least("accumulate", self.accumulate, 1)
        _at_least("checkpoint_every", self.checkpoint_every, 1)
        _at_least("seed", self.seed, 0)
        _one_of("rate", self.rate, tuple(RATES))
        _one_of("optimizer", self.optimizer, tuple(OPTIMIZERS))
        _one_of("precision", self.precision, PRECISIONS)
        _positive("learning_rate", self.learning_rate)
        _positive("clip", self.clip)
        _within("weight_decay", self.weight_decay, 0, float("inf"))
        _within("warmup", self.warmup, 0, 1)
        _within("label_smoothing", self.label_smoothing, 0, 1)
        _fraction("ema_decay", self.ema_decay)

    def identity(self) -> dict[str, Any]:
        """Return the settings that decide the result of a run, as JSON values.

        How often a run is saved does not change its result; the precision is what "auto" turned out to be,
        which the run adds.
        """
        return {k: v for k, v in asdict(self).items() if k not in ("checkpoint_every", "precision")}

    def make_optimizer(self, model: nn.Module, more: Sequence[nn.Parameter] = ()) -> Optimizer:
        """Return the optimizer over the parameters of ``model`` that train, and over ``more``.

        Raises:
            TrainingError: no parameter requires a gradient.
        """
        trained = [p for p in model.parameters() if p.requires_grad]
        if not trained:
            raise TrainingError("No parameter of the model requires a gradient: there is nothing to train.")
        trained += more
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return OPTIMIZERS[self.optimizer]([g for g in groups if g["params"]], self.learning_rate)


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and (not isinstance(value, int) or value < least):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(f"{name} is a whole number of at least {least}, got {value!r}.")


def _positive(name: str, value: float | None) -> None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise SettingError(f"{name} is a finite number above 0, got {value!r}.")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not (low <= value <= high and math.isfinite(value)):
        raise SettingError(f"{name} lies in {low}..{high}, got {value!r}.")


def _fraction(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < 1:
        raise SettingError(f"{name} lies between 0 and 1, got {value!r}.")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingError(f"{name} is one of {', '.join(choices)}, got {value!r}.")
