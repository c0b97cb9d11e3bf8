"""One loss against one teacher: what it sees, and what of it is told."""

from __future__ import annotations

from dataclasses import dataclass

from featherweight.distillation.losses import DistillationLoss, View
from featherweight.distillation.mixture import Term
from featherweight.distillation.pairing import Compared, Wiring
from featherweight.distillation.watch import Reading
from featherweight.errors import ModelError


@dataclass(frozen=True, eq=False)
class Lead:
    """One loss against one teacher.

    Attributes:
        term: the loss, its name and weight.
        wiring: what it compares.
        teacher: number of the teacher.
    """

    term: Term
    wiring: Wiring
    teacher: int


def check_logits(lead: Lead, own: Reading, goal: Reading, name: str) -> None:
    """Raise ModelError where the loss compares logits, and those of the example are missing or differ."""
    if not lead.term.loss.needs_logits:
        return
    for reading, which in ((own, "The student"), (goal, name)):
        if reading.logits is None:
            raise ModelError(
                f"{which} returns no logits, which the loss {lead.term.name} compares: it is to return them "
                f"alone, first in a tuple, or as 'logits' of a mapping or record."
            )
    if own.logits is not None and goal.logits is not None and own.logits.shape != goal.logits.shape:
        of_tokens = own.logits.ndim == goal.logits.ndim == 3
        what, advice = ("classes", "compare features (rkd, hints)")
        if of_tokens:
            what, advice = ("tokens and vocabulary", "teach with the teacher's decoded texts (sequence)")
        raise ModelError(
            f"The student's logits are {tuple(own.logits.shape)} and those of {name.lower()} "
            f"{tuple(goal.logits.shape)}: the loss {lead.term.name} needs the same {what} in both. Give the "
            f"student a last layer of the teacher's size, or {advice}."
        )


def views(lead: Lead, own: Reading, goal: Reading) -> tuple[View, View]:
    """Return what the loss sees of the student and of the teacher."""
    features, attention = lead.wiring.features, lead.wiring.attention
    return (
        own.view([tap for _, tap in features], [layer for _, layer in attention]),
        goal.view([tap for tap, _ in features], [layer for layer, _ in attention]),
    )


def compared(lead: Lead, own: Reading, goal: Reading) -> list[Compared]:
    """Return what the loss compares, with the shapes that the example had."""
    name, number = lead.term.name, lead.teacher
    features = [
        Compared(name, number, str(a), str(b), tuple(goal.features[a].shape), tuple(own.features[b].shape))
        for a, b in lead.wiring.features
    ]
    queries = [
        (a.path, b.path, goal.attention[a].query, own.attention[b].query) for a, b in lead.wiring.attention
    ]
    heads = [Compared(name, number, a, b, tuple(x.shape), tuple(y.shape)) for a, b, x, y in queries]
    return features + heads


def settings_of(loss: DistillationLoss) -> str:
    """Return the plain attributes of a loss in words."""
    plain = {
        name: value
        for name, value in sorted(vars(loss).items())
        if not name.startswith("_")
        and name != "training"
        and isinstance(value, bool | int | float | str | tuple | None)
    }
    return f"({', '.join(f'{name}={value}' for name, value in plain.items())})"
