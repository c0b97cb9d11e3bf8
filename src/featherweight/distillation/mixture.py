"""Weighted sums of losses, from one line: "kd", "kd + 50*at", {"kd": 1, "at": 50}, or loss objects."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from featherweight.distillation.losses import DistillationLoss, losses
from featherweight.errors import SettingError

LossLike = str | DistillationLoss | Mapping[str | DistillationLoss, float]

_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_PLUS = re.compile(r"(?<![0-9.][eE])\+")
_TERM = re.compile(rf"(?:(?P<weight>{_NUMBER})\s*\*\s*)?(?P<name>[A-Za-z_][A-Za-z_0-9]*)")


@dataclass(frozen=True)
class Term:
    """One loss of a sum."""

    name: str
    weight: float
    loss: DistillationLoss


def terms_of(loss: LossLike) -> tuple[Term, ...]:
    """Return the terms of a sum.

    Args:
        loss: a name, a sum such as "kd + 50*at", a loss object, or a mapping of either to weights.

    Raises:
        UnknownNameError: there is no such loss; lists the choices.
        SettingError: a weight is not a finite number above 0, a loss comes twice, or the line cannot be read.
    """
    if isinstance(loss, str):
        pairs = [_read(part, loss) for part in _PLUS.split(loss)]
    elif isinstance(loss, DistillationLoss):
        pairs = [(loss, 1.0)]
    elif isinstance(loss, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass anything
        pairs = list(loss.items())
    else:
        raise SettingError(f"loss is a name, a sum of names, a loss or a mapping; got {type(loss).__name__}.")
    if not pairs:
        raise SettingError("loss names no loss.")
    terms = tuple(_term(thing, weight) for thing, weight in pairs)
    names = [term.name for term in terms]
    if len(set(names)) < len(names):
        raise SettingError(f"A loss comes twice in {loss!r}: give it once, with the sum of the weights.")
    return terms


def _read(part: str, line: str) -> tuple[str, float]:
    match = _TERM.fullmatch(part.strip())
    if match is None:
        raise SettingError(f"Cannot read {part.strip()!r} in loss={line!r}: write 'kd + 50*at'.")
    return match["name"], float(match["weight"] or 1)


def _term(thing: str | DistillationLoss, weight: float) -> Term:
    if isinstance(thing, str):
        name, loss = thing, losses[thing]()
    elif not isinstance(thing, DistillationLoss):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(f"The losses of a mapping are names or losses, got {thing!r}.")
    else:
        name, loss = name_of(thing), thing
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(f"The weight of {name} is a finite number above 0, got {weight!r}.")
    return Term(name, float(weight), loss)


def name_of(loss: DistillationLoss) -> str:
    """Return the name that ``loss`` is registered under, or else that of its class."""
    return next((name for name in losses if losses[name] is type(loss)), type(loss).__name__)
