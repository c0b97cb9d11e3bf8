"""Inputs to trace and time a network on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from featherweight.cli.anatomy import input_shape_of
from featherweight.cli.batches import Batches
from featherweight.cli.resolve import is_factory
from featherweight.core.trace import Example


def example_of(
    spec: str, model: nn.Module, input_shape: str | None, batches: Batches | None, purpose: str
) -> Example:
    """Return inputs of the shape that is given, or else of the zoo's, or else the first of the data.

    Args:
        spec: as ``model`` was named.
        model: the network.
        input_shape: such as "1,3,224,224"; None: not given.
        batches: data; None: not given.
        purpose: for the error, such as "To trace the network".

    Raises:
        SettingError: there is none of the three.
    """
    if batches is not None and input_shape is None and is_factory(spec):
        batch = next(iter(batches.train))
        if isinstance(batch, Mapping):
            return tree_map(_first, {name: value for name, value in batch.items() if name != "labels"})
        return tree_map(_first, batch[0] if isinstance(batch[0], Tensor | Mapping) else tuple(batch[0]))
    shape = input_shape_of(spec, model, input_shape, purpose)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _first(value: Any) -> Any:
    return value[:1] if isinstance(value, Tensor) and value.ndim else value
