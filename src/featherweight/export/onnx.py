"""Export by torch.onnx, and proof that the file computes what the model does."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featherweight.artifact.atomic import replacing
from featherweight.core.trace import Example, as_arguments, evaluating
from featherweight.errors import OnnxError, SettingError
from featherweight.export.inputs import free_batch, with_batch
from featherweight.export.parity import Arguments, difference
from featherweight.export.translations import translations

TOLERANCE = 1e-4  # of the largest number of an output
_MOST_BYTES = 2**31 - 1  # of a protobuf message


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: the file.
        file_bytes: its size.
        opset: of the operators in it.
        dynamic_batch: whether it takes any batch size.
        difference: the largest difference from the model on the example inputs, as a fraction of the largest
            number of that output.
    """

    path: Path
    file_bytes: int
    opset: int
    dynamic_batch: bool
    difference: float


def export_onnx(
    model: nn.Module,
    example_inputs: Example,
    path: str | os.PathLike[str],
    *,
    dynamic_batch: bool = True,
    opset: int | None = None,
    tolerance: float = TOLERANCE,
) -> ExportReport:
    """Write ``model`` to an ``.onnx`` file, whole or not at all, after comparing both on the example inputs.

    The model is not changed; it is exported in evaluation mode.

    Args:
        model: any module that torch.export takes, a rewritten graph of ``prune_structured`` included.
        example_inputs: a tensor, a tuple of positional arguments or a mapping of keyword arguments.
        path: the file; one that exists is replaced.
        dynamic_batch: leave the batch size free; otherwise it is that of the example inputs.
        opset: of the operators; by default torch's own choice.
        tolerance: the most that outputs may differ, as a fraction of their largest number.

    Raises:
        OnnxError: torch cannot export it, or the file does not compute what the model does.
        SettingError: a setting is out of range.
    """
    if tolerance <= 0:
        raise SettingError(f"tolerance must be above 0, got {tolerance}.")
    with evaluating(model):
        arguments = with_batch(example_inputs, 2) if dynamic_batch else as_arguments(example_inputs)
        proto = _exported(model, arguments, dynamic_batch, opset)
        apart = difference(model, proto, as_arguments(example_inputs))
        if dynamic_batch:
            apart = max(apart, difference(model, proto, with_batch(example_inputs, 3)))
    if not apart <= tolerance:
        raise OnnxError(
            f"The exported network differs from {type(model).__name__} by {apart:.2g} of its largest output; "
            f"at most {tolerance:g} was asked for. Nothing was written."
        )
    return _write(proto, Path(path), dynamic_batch, apart)


def _exported(model: nn.Module, arguments: Arguments, dynamic_batch: bool, opset: int | None) -> Any:
    args, kwargs = arguments
    shapes = free_batch(model, args, kwargs) if dynamic_batch else None
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                model,
                args,
                kwargs=kwargs,
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=shapes,
                custom_translation_table=translations(),
                verbose=False,
            )
        proto = program.model_proto
    except ModuleNotFoundError as error:
        raise ImportError(
            "export_onnx needs onnx and onnxscript: pip install 'featherweight[onnx]'"
        ) from error
    except Exception as error:  # torch.onnx raises a dozen types
        hint = " Where it holds for one batch size only, pass dynamic_batch=False." if dynamic_batch else ""
        cause = error.__cause__ or error  # the reason; around it stands how to report a bug to torch
        reason = str(cause).strip().split("\n", maxsplit=1)[0].rstrip(".")
        raise OnnxError(
            f"torch.onnx cannot export {type(model).__name__}: {type(cause).__name__}: {reason}.{hint}"
        ) from error
    for node in proto.graph.node:
        del node.metadata_props[:]  # stack traces with paths of this machine
    return proto


def _write(proto: Any, path: Path, dynamic_batch: bool, apart: float) -> ExportReport:
    if proto.ByteSize() > _MOST_BYTES:
        raise OnnxError(
            f"The network takes {proto.ByteSize():,} bytes; one .onnx file holds {_MOST_BYTES:,}."
        )
    data = proto.SerializeToString()
    with replacing(path) as file:
        file.write(data)
    opset = next(entry.version for entry in proto.opset_import if not entry.domain)
    return ExportReport(path, len(data), opset, dynamic_batch, apart)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep back what torch and onnxscript print and log beside errors."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
