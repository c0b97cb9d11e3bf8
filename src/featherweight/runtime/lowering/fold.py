"""Constants folded, functions inlined and batch norms folded into convolutions: by onnxscript's optimizer."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Generator
from typing import Any

from featherweight.errors import OnnxError
from featherweight.runtime.lowering.source import NEEDS

_LEAST_OPSET = 7  # from here on operators broadcast as they do now
_OPSET = 18  # axes and sizes are inputs, not attributes


def fold(model: Any) -> Any:
    """Return ``model`` (an onnx.ModelProto, which stays as it is) with all folded that can be.

    Raises:
        OnnxError: the optimizer fails on it, or its opset is from before 2017.
    """
    try:
        import onnxscript.optimizer
        import onnxscript.rewriter
    except ModuleNotFoundError as error:
        raise ImportError(NEEDS) from error
    model = _of_opset(model)
    with _quiet():
        try:
            folded = onnxscript.optimizer.optimize(model, onnx_shape_inference=True)
            return onnxscript.rewriter.rewrite(folded)
        except Exception as error:
            raise OnnxError(f"onnxscript cannot optimize this network: {error}") from error


def _of_opset(model: Any) -> Any:
    """Return the network in an opset whose operators the handlers know."""
    import onnx.version_converter

    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset >= _OPSET:
        return model
    if opset < _LEAST_OPSET:
        raise OnnxError(
            f"the network is of opset {opset}; {_LEAST_OPSET} and later are read. Export it again."
        )
    try:
        return onnx.version_converter.convert_version(model, _OPSET)
    except Exception:  # it lacks some operators; the handlers know most older forms too
        return model


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Nothing of onnxscript is printed beside what this library says."""
    names = ("onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
