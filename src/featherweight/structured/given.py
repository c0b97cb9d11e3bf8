"""What every way of cutting a network is given, checked before it is traced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from featherweight.errors import ModelError, SettingError


def check_given(model: nn.Module, example: Any) -> None:
    """Check that a model has values and that there are inputs to trace it with.

    Raises:
        ModelError: a parameter is on the meta device.
        SettingError: ``example`` is no tensor, sequence or mapping.
    """
    if isinstance(example, str) or not isinstance(example, Tensor | Sequence | Mapping):
        raise SettingError(
            f"example_inputs is a tensor, a sequence of positional or a mapping of keyword arguments, got a "
            f"{type(example).__name__}."
        )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise ModelError(
                f"{name!r} is on the meta device and has no values. Load weights before pruning it."
            )
