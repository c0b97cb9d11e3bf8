"""What a distillation loss is: the form of one, what it sees, and the registry.

A new loss is one file with one class, registered; its row in the docs, its choice on the command line and the
contract tests follow from the registry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from featherweight._registry import Registry


@dataclass(frozen=True)
class Heads:
    """Queries, keys and values of one attention layer, each (n, heads, tokens, width of a head)."""

    query: Tensor
    key: Tensor
    value: Tensor


@dataclass(frozen=True)
class View:
    """What a loss sees of one network on one batch; of the teacher it is detached.

    Attributes:
        logits: (n, classes), or (n, tokens, vocabulary) of a language model; None where the network has none.
        features: one tensor per tap of the loss, paired by position with the other network's: maps
            (n, channels, height, width), tokens (n, tokens, width) or vectors (n, width).
        attention: one entry per attention layer that the loss taps, paired likewise.
    """

    logits: Tensor | None = None
    features: tuple[Tensor, ...] = ()
    attention: tuple[Heads, ...] = ()


@dataclass(frozen=True)
class Lesson:
    """What a loss knows of the batch and of the moment.

    Attributes:
        targets: (n,) or (n, tokens) class numbers, UNLABELLED where there is none; None without labels.
        mask: (n, tokens), True where a token is not padding; None: none is.
        temperature: that the Distiller was given, at this moment; None: the loss's own.
    """

    targets: Tensor | None = None
    mask: Tensor | None = None
    temperature: float | None = None


class DistillationLoss(nn.Module):
    """A distance between what a student and a teacher make of one batch.

    The class attributes say what it needs; the Distiller gives it that, or refuses at construction.

    Attributes:
        needs_logits: it reads ``View.logits`` of both, which must have equal shapes.
        needs_targets: it reads ``Lesson.targets`` and cannot do without.
        takes_temperature: it reads ``Lesson.temperature``.
        features: which taps it gets where the user names none: "stages" (the last map of each resolution),
            "blocks" (the outputs of stacked blocks), "embedding" (the input of the last linear layer), or
            None: it takes no features.
        attention: whether it gets queries, keys and values: "last" layer, "all" (paired), or None.
    """

    needs_logits: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = False
    takes_temperature: ClassVar[bool] = False
    features: ClassVar[Literal["stages", "blocks", "embedding"] | None] = None
    attention: ClassVar[Literal["last", "all"] | None] = None

    def prepare(self, student: View, teacher: View) -> None:
        """Make what depends on the shapes (projectors), once, from an example; raise ModelError if none fit.

        Parameters made here are trained with the student's, and thrown away with the loss.
        """

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar: the mean over the examples of the batch."""
        raise NotImplementedError


losses: Registry[type[DistillationLoss]] = Registry("distillation loss")
