"""What ``featherweight prune --teacher`` is asked for: who teaches the pruned network, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from featherweight.cli.network import make_network
from featherweight.distillation.settings import DistillationSettings

DENSE = "dense"  # the network as it was before it was pruned


@dataclass(frozen=True)
class Teaching:
    """Who teaches, and how.

    Attributes:
        teacher: "dense", or a network named as on the command line.
        distillation: the settings of the loss.
    """

    teacher: str
    distillation: DistillationSettings

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Teaching | None:
        """Return what a command asks for, by the names of its options; None without a teacher.

        Raises:
            SettingError: a setting is wrong.
        """
        names = {"teacher_loss": "loss", "alpha": "alpha", "temperature": "temperature"}
        given = {name: asked[option] for option, name in names.items() if asked[option] is not None}
        return None if asked["teacher"] is None else cls(asked["teacher"], DistillationSettings(**given))

    def arguments(self, dense: nn.Module, seed: int) -> dict[str, Any]:
        """Return ``teacher=`` and ``distillation=`` of a call that prunes ``dense`` or what is left of it."""
        teacher = dense if self.teacher == DENSE else make_network(self.teacher, None, seed)
        return {"teacher": teacher, "distillation": self.distillation}
