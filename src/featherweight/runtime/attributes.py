"""What the attributes of an operation may be: one small class a kind, each with its check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from featherweight.errors import GraphError
from featherweight.runtime.activation import Activation

_MOST = 2**31 - 1
MOST_OF_WINDOWS = 2**20  # strides, pads and the like: native/plan/operation_table.cc


class Check(Protocol):
    """A kind of attribute."""

    def __call__(self, value: Any, where: str) -> Any:
        """Return ``value`` in its one form (lists as tuples); raise GraphError that says ``where``."""
        ...


@dataclass(frozen=True)
class Whole:
    """A whole number from ``least`` to ``most``."""

    least: int = 0
    most: int = _MOST

    def __call__(self, value: Any, where: str) -> int:
        """Return the number."""
        if type(value) is not int or not self.least <= value <= self.most:
            raise GraphError(
                f"{where}: expected a whole number in [{self.least}, {self.most}], got {value!r}."
            )
        return value


@dataclass(frozen=True)
class Wholes:
    """Whole numbers from ``least`` to ``most``; ``count`` of them, if that is given."""

    count: int | None = None
    least: int = 0
    most: int = _MOST

    def __call__(self, value: Any, where: str) -> tuple[int, ...]:
        """Return the numbers as a tuple."""
        if not isinstance(value, list | tuple) or self.count not in (None, len(value)):
            many = "whole numbers" if self.count is None else f"{self.count} whole numbers"
            raise GraphError(f"{where}: expected a list of {many}, got {value!r}.")
        return tuple(Whole(self.least, self.most)(item, where) for item in value)


def steps(value: Any, where: str) -> tuple[int, ...]:
    """Return whole numbers that are not 0; raises GraphError for anything else."""
    found = Wholes(None, -_MOST)(value, where)
    if 0 in found:
        raise GraphError(f"{where}: expected numbers other than 0, got {list(found)}.")
    return found


@dataclass(frozen=True)
class Numbers:
    """``count`` numbers above 0 and below ``bound``."""

    count: int
    bound: float

    def __call__(self, value: Any, where: str) -> tuple[float, ...]:
        """Return the numbers as a tuple."""
        if not isinstance(value, list | tuple) or len(value) != self.count:
            raise GraphError(f"{where}: expected a list of {self.count} numbers, got {value!r}.")
        if not all(_is_finite(item) and 0 < item < self.bound for item in value):
            raise GraphError(
                f"{where}: expected numbers above 0 and below {self.bound:g}, got {list(value)}."
            )
        return tuple(map(float, value))


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    def __call__(self, value: Any, where: str) -> str:
        """Return the word."""
        if value not in self.words:
            raise GraphError(f"{where}: expected one of {', '.join(self.words)}, got {value!r}.")
        return value


def flag(value: Any, where: str) -> bool:
    """Return a bool; raises GraphError for anything else."""
    if type(value) is not bool:
        raise GraphError(f"{where}: expected true or false, got {value!r}.")
    return value


def number(value: Any, where: str) -> float:
    """Return a number; infinities are not among them. Raises GraphError for anything else."""
    if not _is_finite(value):
        raise GraphError(f"{where}: expected a finite number, got {value!r}.")
    return float(value)


def activation(value: Any, where: str) -> Activation:
    """Return an Activation, also of its JSON; raises GraphError for anything else."""
    return value if isinstance(value, Activation) else Activation.from_json(value, where)


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


class _Absent:
    """The default of attributes that may be left out, and of those that must not."""


OPTIONAL = _Absent()
REQUIRED = _Absent()


@dataclass(frozen=True)
class Attribute:
    """One attribute: its check, and its value where it is not given (OPTIONAL: none; REQUIRED: an error)."""

    check: Check
    default: Any = REQUIRED


def checked(given: Mapping[str, Any], known: Mapping[str, Attribute], where: str) -> dict[str, Any]:
    """Return the attributes ``given``, checked, with defaults filled in; in the order of ``known``."""
    unknown = [name for name in given if name not in known]
    if unknown:
        raise GraphError(
            f"{where}: attributes {unknown} are unknown. There are: {', '.join(known) or 'none'}."
        )
    values: dict[str, Any] = {}
    for name, attribute in known.items():
        value = given.get(name, attribute.default)
        if value is REQUIRED:
            raise GraphError(f"{where}: attribute {name!r} is missing.")
        if value is not OPTIONAL:
            values[name] = attribute.check(value, f"{where}: {name}")
    return values
