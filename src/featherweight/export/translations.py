"""Operators of torch that this exporter writes its own way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch


def translations() -> dict[Any, Callable[..., Any]]:
    """Return torch.onnx's ``custom_translation_table``."""
    return {
        torch.ops.aten.as_strided.default: as_strided,
        torch.ops.aten.adaptive_avg_pool2d.default: adaptive_avg_pool2d,
    }


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


def adaptive_avg_pool2d(self: Any, output_size: Sequence[int]) -> Any:
    """Average pooling by windows where they are equal, else by two products: each output is a sum of inputs.

    torch.onnx gathers each window by itself, with GatherND.
    """
    from onnxscript import opset18

    op: Any = opset18
    rows, columns = self.shape[-2:]
    if not (isinstance(rows, int) and isinstance(columns, int)):
        raise ValueError(f"adaptive_avg_pool2d to {tuple(output_size)} of a picture whose size is free")
    out_rows, out_columns = (size or own for size, own in zip(output_size, (rows, columns), strict=True))
    if len(self.shape) == 4 and rows % out_rows == 0 and columns % out_columns == 0:
        window = [rows // out_rows, columns // out_columns]
        return op.AveragePool(self, kernel_shape=window, strides=window)
    turn = [*range(len(self.shape) - 2), len(self.shape) - 1, len(self.shape) - 2]
    across = op.MatMul(self, op.Constant(value=_windows(columns, out_columns)))
    down = op.MatMul(op.Transpose(across, perm=turn), op.Constant(value=_windows(rows, out_rows)))
    return op.Transpose(down, perm=turn)


def _windows(size: int, out: int) -> Any:
    """Return what averages over the windows of an adaptive pool, (size, out)."""
    from onnx import numpy_helper

    matrix = torch.zeros(size, out)
    for i in range(out):
        first, last = i * size // out, -(-(i + 1) * size // out)
        matrix[first:last, i] = 1 / (last - first)
    return numpy_helper.from_array(matrix.numpy())


def in_order(size: Sequence[Any], stride: Sequence[Any]) -> bool:
    """Whether strides are those of C order, sizes of 1 left aside; the first size may be free."""
    if not all(isinstance(each, int) for each in (*size[1:], *stride)):
        return False
    return all(
        stride[axis] == math.prod(size[axis + 1 :]) for axis, each in enumerate(size) if not _is_one(each)
    )


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1
