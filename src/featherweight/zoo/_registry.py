"""The two registries of the zoo: networks (factories) and data sets (loading functions)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch import nn

from featherweight._registry import Registry

if TYPE_CHECKING:
    from featherweight.zoo.data.splits import Splits


class NetworkFactory(Protocol):
    """Builds an untrained network."""

    def __call__(self, in_channels: int = ..., classes: int = ...) -> nn.Module: ...


class DataSource(Protocol):
    """Loads a data set with its fixed splits."""

    def __call__(self) -> Splits: ...


networks: Registry[NetworkFactory] = Registry("network")
data_sets: Registry[DataSource] = Registry("data set")
