"""Checks of records at construction, and their JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from featherweight.errors import ArtifactError, SettingError


def fraction(what: str, value: float | None) -> None:
    """Raise SettingError unless ``value`` is in 0..1 (None, where a value may be missing, is)."""
    if value is not None and not (math.isfinite(value) and 0 <= value <= 1):
        raise SettingError(f"{what} is a fraction, 0..1, got {value}. Divide a percentage by 100.")


def count(what: str, value: int, least: int = 0) -> None:
    """Raise SettingError unless ``value`` is a whole number of at least ``least``."""
    if isinstance(value, bool) or int(value) != value or value < least:
        raise SettingError(f"{what} is a whole number of at least {least}, got {value!r}.")


def same_length(what: str, first: int, second: int) -> None:
    """Raise SettingError unless the two lengths are equal."""
    if first != second:
        raise SettingError(f"{what} must be equally many, got {first} and {second}.")


def dump(record: Any, inline: str | None = None) -> str:
    """Return the fields of a record as a JSON object. Raises SettingError on a NaN or an infinity.

    Args:
        record: a data class.
        inline: a field whose own fields take its place; none where it is None.
    """
    values = asdict(record)
    if inline is not None:
        values |= values.pop(inline) or {}
    try:
        return json.dumps(values, indent=1, allow_nan=False)
    except ValueError as error:
        raise SettingError(f"A {type(record).__name__} with a value that is not finite: {error}.") from error


def parse(text: str, kind: str) -> dict[str, Any]:
    """Return the JSON object in ``text``, its arrays as tuples; ``kind`` is what an error calls it.

    Raises:
        ArtifactError: it is not a JSON object.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ArtifactError(
            f"Not a {kind}: {error}. Give the file that the command's --json wrote."
        ) from error
    if not isinstance(value, dict):
        raise ArtifactError(f"Not a {kind}: expected a JSON object, got a {type(value).__name__}.")
    return _frozen(value)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
