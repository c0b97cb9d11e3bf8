"""Reading of JSON values that a stranger may have written: of the right type, or ValueError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping."""
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__} where a mapping was expected")
    return cast("dict[str, Any]", value)


def items(value: Any) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise ValueError(f"a {type(value).__name__} where a list was expected")
    return cast("list[Any]", value)


def word(value: Any) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} where a string was expected")
    return value


def flag(value: Any) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool):
        raise ValueError(f"a {type(value).__name__} where true or false was expected")
    return value


def count(value: Any) -> int:
    """Return a whole number that is not negative."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{str(value)[:40]} where a number of 0 or more was expected")
    return value


def sizes(value: Any) -> int | tuple[int, ...]:
    """Return what a size attribute may hold: a whole number, or several."""
    if isinstance(value, list):
        return tuple(_whole(number) for number in cast("list[Any]", value))
    return _whole(value)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"a {type(value).__name__} where a size was expected")
    return value
