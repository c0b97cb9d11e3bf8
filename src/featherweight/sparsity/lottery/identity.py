"""What a setting is called in every process, and the hash of settings."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from featherweight.errors import SettingError

_PLAIN = (str, int, float, bool, type(None))


def named(what: str, thing: Any) -> Any:
    """Return a name of ``thing`` as a JSON value, the same in every process.

    Args:
        what: the setting, for errors.
        thing: text or a number, a function or class at the top of a module, ``functools.partial`` of one, a
            frozen dataclass, or tuples, lists and mappings of these.

    Raises:
        SettingError: it has no such name, as a lambda has none.
    """
    if isinstance(thing, _PLAIN):
        return thing
    if isinstance(thing, list | tuple):
        return [named(what, part) for part in thing]
    if isinstance(thing, Mapping):
        return {str(key): named(what, value) for key, value in thing.items()}
    return _of_object(what, thing)


def digest(identity: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that are the same in every process, and others for other settings."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _of_object(what: str, thing: Any) -> Any:
    if isinstance(thing, functools.partial):
        of = _of_function(what, thing.func)
        return {"partial": of, "args": named(what, thing.args), "keywords": named(what, thing.keywords)}
    if is_dataclass(thing) and not isinstance(thing, type):
        own: Callable[[], dict[str, Any]] | None = getattr(thing, "identity", None)
        values = {field.name: getattr(thing, field.name) for field in fields(thing)} if own is None else own()
        return {"kind": _of_function(what, type(thing)), "fields": named(what, values)}
    return _of_function(what, thing)


def _of_function(what: str, thing: Callable[..., Any]) -> str:
    name = getattr(thing, "__qualname__", None)
    if not callable(thing) or name is None or "<" in name:
        raise SettingError(
            f"{what}={thing!r} has no name that is the same in every process, which a run needs to find its "
            f"records again. Define it with def at the top of a module, or use functools.partial of such a "
            f"function, or a frozen dataclass with __call__."
        )
    module = "__main__" if thing.__module__ == "__mp_main__" else thing.__module__  # as a worker calls it
    return f"{module}:{name}"
