"""Whether an ONNX network computes what the torch network does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from featherweight.errors import OnnxError
from featherweight.export.inputs import tensors_of

Array = npt.NDArray[Any]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def difference(model: nn.Module, proto: Any, arguments: Arguments) -> float:
    """Return the largest difference of an output, as a fraction of the largest number of that output.

    Args:
        model: in evaluation mode.
        proto: the same as an onnx.ModelProto.
        arguments: positional and keyword arguments of the call.

    Raises:
        OnnxError: either network fails, or their outputs have other shapes.
    """
    expected = _expected(model, arguments)
    inputs = [tensor.detach().cpu().numpy() for tensor in tensors_of(arguments)]
    got = run(proto, inputs)
    if [array.shape for array in got] != [array.shape for array in expected]:
        raise OnnxError(
            f"The exported network gives arrays of {[array.shape for array in got]}, "
            f"the model of {[array.shape for array in expected]}."
        )
    return max((_apart(a, b) for a, b in zip(expected, got, strict=True)), default=0.0)


def _expected(model: nn.Module, arguments: Arguments) -> list[Array]:
    args, kwargs = arguments
    try:
        with torch.no_grad():
            return [tensor.cpu().numpy() for tensor in tensors_of(model(*args, **kwargs))]
    except Exception as error:  # whatever the network raises
        shapes = [tuple(tensor.shape) for tensor in tensors_of(arguments)]
        raise OnnxError(
            f"{type(model).__name__} fails on inputs of {shapes}: {error}. "
            "If it holds for one batch size only, pass dynamic_batch=False."
        ) from error


def _apart(expected: Array, got: Array) -> float:
    if expected.size == 0:
        return 0.0
    wide, other = expected.astype(np.float64), got.astype(np.float64)
    if not np.array_equal(np.isfinite(wide), np.isfinite(other)):
        return float("inf")
    finite = np.isfinite(wide)
    scale = np.abs(wide[finite]).max(initial=0.0) or 1.0
    return float(np.abs(wide[finite] - other[finite]).max(initial=0.0) / scale)


def run(proto: Any, inputs: list[Array]) -> list[Array]:
    """Return the outputs of an ONNX network: by onnxruntime, or else by ONNX's own reference."""
    names = [value.name for value in proto.graph.input]
    if len(names) != len(inputs):
        raise OnnxError(f"The exported network takes {names}; {len(inputs)} tensors were given.")
    feeds = dict(zip(names, inputs, strict=True))
    try:
        return [np.asarray(output) for output in _run(proto, feeds)]
    except Exception as error:  # each runtime has its own
        raise OnnxError(f"The exported network fails on the example inputs: {error}") from error


def _run(proto: Any, feeds: dict[str, Array]) -> list[Any]:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        from onnx.reference import ReferenceEvaluator

        return list(ReferenceEvaluator(proto).run(None, feeds))
    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session: Any = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=providers)
    return session.run(None, feeds)
