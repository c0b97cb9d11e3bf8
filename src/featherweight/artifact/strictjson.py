"""JSON from a stranger: no duplicate keys, no NaN, no endless nesting, whole numbers that are whole."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from featherweight.errors import ArtifactError

MAX_WHOLE = 2**63 - 1


def loads(text: bytes, error: type[ArtifactError], where: str) -> dict[str, Any]:
    """Return the object in ``text`` (UTF-8); raises ``error`` with the reason for anything else."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise ValueError("a key stands twice")
        return table

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        table = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
        if b"\\u" in text:  # half of a surrogate pair could not be written again
            json.dumps(table, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as reason:
        raise error(f"{where}: not valid JSON ({reason}).") from reason
    if not isinstance(table, dict):
        raise error(f"{where}: must be a JSON object, got {type(table).__name__}.")
    return table


def whole_number(value: Any, error: type[ArtifactError], where: str) -> int:
    """Return ``value`` if it is an int in [0, 2**63); raises ``error`` otherwise."""
    if type(value) is not int or not 0 <= value <= MAX_WHOLE:
        raise error(f"{where}: expected a whole number in [0, 2**63), got {str(value)[:40]}.")
    return value


def whole_numbers(values: Any, error: type[ArtifactError], where: str) -> tuple[int, ...]:
    """Return a list's whole numbers as a tuple; raises ``error`` if it is anything else."""
    if not isinstance(values, list):
        raise error(f"{where}: expected a list of whole numbers, got {type(values).__name__}.")
    return tuple(whole_number(value, error, where) for value in values)


def texts(values: Any, error: type[ArtifactError], where: str) -> tuple[str, ...]:
    """Return a list's strings as a tuple; raises ``error`` if it is anything else."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise error(f"{where}: expected a list of strings.")
    return tuple(values)
