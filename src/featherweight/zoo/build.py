"""Untrained networks by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import nn

import featherweight.zoo.networks  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers them
from featherweight.errors import SettingError
from featherweight.zoo._registry import networks

_GENERAL = ("in_channels", "classes", "image_size")  # of every network, or harmless to it


def network_names() -> tuple[str, ...]:
    """Return the names that ``build`` takes."""
    return tuple(networks)


def options_of(name: str) -> Mapping[str, Any]:
    """Return the options that a network of the zoo has beside those of all, each with its default.

    Raises:
        UnknownNameError: there is no such network; lists the choices.
    """
    parameters = inspect.signature(networks[name]).parameters
    return {key: value.default for key, value in parameters.items() if key not in _GENERAL}


def build(
    name: str, *, in_channels: int = 1, classes: int = 10, image_size: int | None = None, **options: Any
) -> nn.Module:
    """Return an untrained network of the zoo.

    Args:
        name: "lenet_300_100", "small_cnn", "resnet20", "resnet50", ...: see ``network_names()``.
        in_channels: channels of an image.
        classes: number of outputs.
        image_size: height and width of an image, pixels, for networks whose parameters depend on it (the
            others take any); None: their default, 28.
        options: of that network: ``width=0.25`` of mobilenet_v1, ``widths=(4, 8, 8, 8)`` of small_cnn; see
            ``options_of``.

    Raises:
        UnknownNameError: there is no such network; lists the choices.
        SettingError: it has no such option, or a setting is of the wrong type or out of range.
    """
    factory, defaults = networks[name], options_of(name)
    for key, value in (("in_channels", in_channels), ("classes", classes)):
        _number(name, key, value, int)
    checked = {key: _checked(name, key, value, defaults) for key, value in options.items()}
    if image_size is not None and "image_size" in inspect.signature(factory).parameters:
        checked["image_size"] = _number(name, "image_size", image_size, int)
    return cast("Callable[..., nn.Module]", factory)(in_channels=in_channels, classes=classes, **checked)


def _checked(name: str, key: str, value: Any, defaults: Mapping[str, Any]) -> Any:
    """Return the value of an option, of the type of its default."""
    if key not in defaults:
        near = difflib.get_close_matches(key, defaults, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        own = ", ".join(f"{option}={default!r}" for option, default in defaults.items())
        raise SettingError(f"{name} takes no option {key!r}.{hint} Its own are: {own or 'none'}.")
    default = defaults[key]
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        parts = tuple(cast("list[Any]", value))
        return tuple(_number(name, key, part, int) for part in parts)
    return _number(name, key, value, type(default))


def _number(name: str, key: str, value: Any, kind: type) -> Any:
    kinds = (int, float) if kind is float else (kind,)
    if type(value) not in kinds:
        words = {int: "a whole number", float: "a number", tuple: "several whole numbers"}
        raise SettingError(f"{key} of {name} is {words.get(kind, kind.__name__)}, got {value!r}.")
    return value
