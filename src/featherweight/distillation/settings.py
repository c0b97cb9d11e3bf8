"""The settings of the loss of a student, checked when they are made."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from featherweight.distillation.checks import temperature_ramp
from featherweight.distillation.mixture import LossLike, terms_of
from featherweight.distillation.pairing import Features, pairs_for
from featherweight.distillation.ramps import Ramp, ramp_of


@dataclass(frozen=True)
class DistillationSettings:
    """How a student learns from a teacher; as the arguments of ``fw.distill`` of the same names.

    Attributes:
        loss: a name, a sum such as "kd + 50*at", a loss object, or a mapping of either to weights.
        alpha: share of the teacher, 0..1, of the loss; a pair or a ramp changes with the progress.
        temperature: for the losses that take one; None: their own (4 for "kd").
        features: "auto", or pairs (teacher path, student path) for the losses that compare features.

    Raises:
        SettingError: a value is out of range, or would have no effect.
        UnknownNameError: there is no such loss; lists the choices.
    """

    loss: LossLike = "kd"
    alpha: float | tuple[float, float] | Ramp = 0.5
    temperature: float | tuple[float, float] | Ramp | None = None
    features: Features = "auto"

    def __post_init__(self) -> None:
        terms = terms_of(self.loss)
        ramp_of("alpha", self.alpha, lambda a: 0 <= a <= 1, "between 0 and 1")
        temperature_ramp(self.temperature, terms)
        pairs_for(self.features, {term.name: term.loss for term in terms})

    def arguments(self) -> dict[str, Any]:
        """Return them as keyword arguments of a Distiller; loss objects are copied: one is made for one."""
        return {
            "loss": copy.deepcopy(self.loss),
            "alpha": self.alpha,
            "temperature": self.temperature,
            "features": self.features,
        }
