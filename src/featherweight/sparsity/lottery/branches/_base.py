"""What a branch is: the masks and the weights that a level starts from, and what has to be trained before.

All branches train alike: the same batches in the same order, as long as the ticket. A new branch is a new
file here, with a class under ``@branches.register``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from featherweight._registry import Registry
from featherweight.core.masks import Masks
from featherweight.sparsity.lottery.rewinding import RewindPoint

if TYPE_CHECKING:
    from featherweight.sparsity.lottery.lineage import Lineage


@dataclass(frozen=True, order=True)
class Step:
    """One training: a level of a branch, from a seed."""

    level: int
    branch: str
    seed: int


@dataclass(frozen=True, eq=False)
class Start:
    """What a training starts from.

    Attributes:
        masks: of the weights, held to the end.
        point: the weights, and what else a training has at that step.
    """

    masks: Masks
    point: RewindPoint


class Branch(ABC):
    """A way of getting at a sparse network.

    Attributes:
        title: what it is, in a few words, for tables and pictures.
        keeps_weights: whether the trained weights are kept: other levels or branches start from them.
        makes_rewind_point: whether its training is the one that the rewind point is taken from.
    """

    title: ClassVar[str]
    keeps_weights: ClassVar[bool] = False
    makes_rewind_point: ClassVar[bool] = False

    def levels(self, number: int) -> range:
        """Return the levels that are trained of ``number``; level 0 is the dense network's."""
        return range(1, number + 1)

    @abstractmethod
    def needs(self, step: Step) -> tuple[Step, ...]:
        """Return what has to be trained before ``step``."""

    @abstractmethod
    def start(self, lineage: Lineage, level: int) -> Start:
        """Return what ``level`` starts from."""


def dense_network(step: Step) -> tuple[Step, ...]:
    """Return the training of the dense network from the same seed."""
    return (Step(0, "dense", step.seed),)


def ticket_before(step: Step) -> tuple[Step, ...]:
    """Return the training that decides on the ticket's mask at the level of ``step``."""
    return dense_network(step) if step.level == 1 else (Step(step.level - 1, "ticket", step.seed),)


branches: Registry[type[Branch]] = Registry("branch")
