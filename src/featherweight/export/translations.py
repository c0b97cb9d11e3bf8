"""Operators of torch that this exporter writes its own way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch


def translations() -> dict[Any, Callable[..., Any]]:
    """Return torch.onnx's ``custom_translation_table``."""
    return {torch.ops.aten.as_strided.default: as_strided}


def as_strided(self: Any, size: Sequence[Any], stride: Sequence[Any], storage_offset: Any = None) -> Any:
    """A view of what is in order is the value itself: average pooling of channels-last pictures has one.

    torch.onnx gathers by computed places, which hardly any runtime folds.
    """
    from onnxscript import opset18 as op
    from onnxscript.function_libs.torch_lib.ops.core import aten_as_strided

    sizes = getattr(self, "shape", None)
    if sizes is None or len(sizes) != len(size) or storage_offset or not in_order(size, stride):
        return aten_as_strided(self, size, stride, storage_offset)
    return op.Identity(self)


def in_order(size: Sequence[Any], stride: Sequence[Any]) -> bool:
    """Whether strides are those of C order, sizes of 1 left aside; the first size may be free."""
    if not all(isinstance(each, int) for each in (*size[1:], *stride)):
        return False
    return all(
        stride[axis] == math.prod(size[axis + 1 :]) for axis, each in enumerate(size) if not _is_one(each)
    )


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1
