"""From a name on the command line to an object: ``package.module:factory`` or ``path/to/file.py:factory``."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from featherweight.errors import FeatherweightError, SettingError


def is_factory(spec: str) -> bool:
    """Whether ``spec`` has the form of a factory, not that of a file or a name, with options or without."""
    _, colon, last = spec.rpartition(":")
    return bool(colon) and "=" not in last


def name_and_options(spec: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a network of the zoo: "mobilenet_v1:width=0.25,stride=8".

    Commas stand between options, and within one that has several numbers ("small_cnn:widths=4,8,8,8"). What
    is no number stays a word.

    Raises:
        SettingError: an option has no name, or comes twice.
    """
    name, _, text = spec.partition(":")
    found: dict[str, list[int | float | str]] = {}
    key = ""
    for part in text.split(",") if text else ():
        given, equals, value = part.rpartition("=")
        key = given.strip() if equals else key
        if not key or (equals and key in found):
            what = f"option {key!r} comes twice" if key else f"{part!r} is no option"
            raise SettingError(f"{spec!r}: {what}. Options are name=value, such as {name}:classes=5.")
        found.setdefault(key, []).append(_value(value.strip()))
    return name, {key: values[0] if len(values) == 1 else tuple(values) for key, values in found.items()}


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def call_factory(spec: str, what: str) -> Any:
    """Return what the factory named by ``spec`` returns, called without arguments.

    Args:
        spec: "package.module:factory", looked for in the current folder too, or "path/to/file.py:factory".
        what: the word for errors, "model" or "data".

    Raises:
        SettingError: there is no such module, file or factory, or it fails.
    """
    factory = find_factory(spec, what)
    try:
        return factory()
    except FeatherweightError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise SettingError(
            f"{what} {spec!r}: calling the factory without arguments failed: {_short(error)}. "
            f"`featherweight --debug ...` shows where."
        ) from error


def find_factory(spec: str, what: str) -> Callable[[], Any]:
    """Return the callable that ``spec`` names; see ``call_factory``."""
    place, colon, name = spec.rpartition(":")
    if not (place and colon and name.isidentifier()):
        raise SettingError(
            f"{what} {spec!r} is not of the form module:factory, such as mynet:make or dir/mynet.py:make."
        )
    module = _from_file(Path(place), spec) if place.endswith(".py") else _from_name(place, spec)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise SettingError(f"{spec!r}: {_no_factory(module, place, name)}")
    return factory


def _no_factory(module: ModuleType, place: str, name: str) -> str:
    if hasattr(module, name):
        return (
            f"{name} is a {type(getattr(module, name)).__name__}, not a function or class that can be called."
        )
    own = [
        n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
    ]
    near = difflib.get_close_matches(name, own, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{place} has no {name!r}.{hint} It defines: {', '.join(own) or 'nothing that can be called'}."


def _from_name(name: str, spec: str) -> ModuleType:
    _search_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise SettingError(
                f"{spec!r}: no module is called {error.name!r}, in {str(Path.cwd())!r} or among "
                f"the installed ones. A file can be named too: path/to/file.py:factory."
            ) from error
        raise _import_failed(spec, error) from error
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise _import_failed(spec, error) from error


def _from_file(path: Path, spec: str) -> ModuleType:
    if not path.is_file():
        raise SettingError(f"{spec!r}: there is no file {str(path)!r}.")
    full = path.resolve()
    name = f"_featherweight_{full.stem}_{hashlib.sha256(str(full).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    _search_in(full.parent)
    found = importlib.util.spec_from_file_location(name, full)
    if found is None or found.loader is None:
        raise SettingError(f"{spec!r}: {str(path)!r} cannot be imported.")
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        del sys.modules[name]
        raise _import_failed(spec, error) from error
    return module


def _search_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _import_failed(spec: str, error: BaseException) -> SettingError:
    return SettingError(
        f"{spec!r}: importing it failed: {_short(error)}. `featherweight --debug ...` shows where."
    )


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
