"""Untrained networks by name."""

from __future__ import annotations

from torch import nn

import featherweight.zoo.networks  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers them
from featherweight.zoo._registry import networks


def network_names() -> tuple[str, ...]:
    """Return the names that ``build`` takes."""
    return tuple(networks)


def build(name: str, *, in_channels: int = 1, classes: int = 10) -> nn.Module:
    """Return an untrained network of the zoo.

    Args:
        name: "lenet_300_100", "small_cnn", "resnet20", "resnet50", ...: see ``network_names()``.
        in_channels: channels of an image.
        classes: number of outputs.

    Raises:
        UnknownNameError: there is no such network; lists the choices.
    """
    return networks[name](in_channels=in_channels, classes=classes)
