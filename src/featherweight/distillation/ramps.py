"""Settings that change with the progress of a run, a number from 0 to 1: alpha and the temperature.

With a start a and an end b::

    linear   a + (b - a) progress
    cosine   a + (b - a) (1 - cos(pi progress)) / 2
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Protocol, TypeGuard, cast, runtime_checkable

from featherweight.errors import SettingError


@runtime_checkable
class Ramp(Protocol):
    """A function of the progress; its ``repr`` is part of a run's fingerprint."""

    def __call__(self, progress: float, /) -> float:
        """Return the value at ``progress``, 0..1."""
        ...


@dataclass(frozen=True)
class Linear:
    """From ``start`` to ``end`` in a straight line."""

    start: float
    end: float

    def __call__(self, progress: float, /) -> float:
        """Return the value at ``progress``, 0..1."""
        return (1 - progress) * self.start + progress * self.end


@dataclass(frozen=True)
class Cosine:
    """From ``start`` to ``end``, slowly at both."""

    start: float
    end: float

    def __call__(self, progress: float, /) -> float:
        """Return the value at ``progress``, 0..1."""
        share = (1 - math.cos(math.pi * progress)) / 2
        return (1 - share) * self.start + share * self.end


def ramp_of(name: str, given: object, is_allowed: Callable[[float], bool], allowed: str) -> Ramp:
    """Return ``given`` as a ramp: a number stays what it is, a pair of numbers is a straight line.

    Args:
        name: of the setting, for errors.
        given: a number, (start, end), or any function of the progress.
        is_allowed: whether a value may be; asked for 0, 0.01, ... 1.
        allowed: what ``is_allowed`` asks, in words.

    Raises:
        SettingError: it is none of these, or has a value that is not allowed.
    """
    if _is_number(given):
        ramp: Ramp = Linear(float(given), float(given))
    elif isinstance(given, tuple | list):
        ends = [float(end) for end in cast("Sequence[object]", given) if _is_number(end)]
        if len(ends) != 2 or len(cast("Sequence[object]", given)) != 2:
            raise SettingError(f"{name} is a number, (start, end) or a ramp; got {given!r}.")
        ramp = Linear(*ends)
    elif isinstance(given, Ramp):
        ramp = given
    else:
        raise SettingError(f"{name} is a number, (start, end) or a ramp; got {given!r}.")
    for hundredth in range(101):
        value: object = ramp(hundredth / 100)
        if not _is_number(value) or not is_allowed(value):
            raise SettingError(f"{name} is {allowed}; {given!r} is {value!r} at progress {hundredth / 100}.")
    return ramp


def _is_number(thing: object) -> TypeGuard[float]:
    """Whether it is a number, of NumPy's types too."""
    return not isinstance(thing, bool) and isinstance(thing, Real)
