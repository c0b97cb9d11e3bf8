"""Untrained networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import cast

from torch import nn

import featherweight.zoo.networks  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers them
from featherweight.zoo._registry import networks


def network_names() -> tuple[str, ...]:
    """Return the names that ``build`` takes."""
    return tuple(networks)


def build(name: str, *, in_channels: int = 1, classes: int = 10, image_size: int | None = None) -> nn.Module:
    """Return an untrained network of the zoo.

    Args:
        name: "lenet_300_100", "small_cnn", "resnet20", "resnet50", ...: see ``network_names()``.
        in_channels: channels of an image.
        classes: number of outputs.
        image_size: height and width of an image, pixels, for networks whose parameters depend on it (the
            others take any); None: their default, 28.

    Raises:
        UnknownNameError: there is no such network; lists the choices.
        SettingError: a setting is out of range.
    """
    factory = networks[name]
    if image_size is None or "image_size" not in inspect.signature(factory).parameters:
        return factory(in_channels=in_channels, classes=classes)
    return cast("Callable[..., nn.Module]", factory)(
        in_channels=in_channels, classes=classes, image_size=image_size
    )
