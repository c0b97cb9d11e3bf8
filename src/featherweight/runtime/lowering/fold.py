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
_OPSET_OF_COORDINATES = 11  # Resize and Upsample before it know no other coordinates than asymmetric ones
_OPSET_OF_SOFTMAX = 13  # before it all axes from `axis` on were one


def fold(model: Any) -> Any:
    """Return ``model`` (an onnx.ModelProto, which stays as it is) with all folded that can be.

    Raises:
        OnnxError: the optimizer fails on it, or its opset is from before 2017.
    """
    try:
        import onnx_ir
        import onnxscript.optimizer
        import onnxscript.rewriter
    except ModuleNotFoundError as error:
        raise ImportError(NEEDS) from error
    model = _of_opset(model)
    with _quiet():
        try:
            folded = onnx_ir.from_proto(model)
            _forget_shapes(folded)
            onnxscript.optimizer.optimize(folded, onnx_shape_inference=False)
            return onnx_ir.to_proto(onnxscript.rewriter.rewrite(folded))
        except Exception as error:
            raise OnnxError(f"onnxscript cannot optimize this network: {error}") from error


def _forget_shapes(model: Any) -> None:
    """Drop what ONNX or an exporter inferred: of pools that round up it may be wrong, and would be folded."""
    for node in model.graph.all_nodes():
        for value in node.outputs:
            value.shape = None


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
        converted = onnx.version_converter.convert_version(model, _OPSET)
    except Exception as error:  # it lacks some operators; the handlers know most older forms too
        _check_meanings(model, opset, error)
        return model
    return _asymmetric(converted) if opset < _OPSET_OF_COORDINATES else converted


def _check_meanings(model: Any, opset: int, error: Exception) -> None:
    """Refuse what an older opset means otherwise and no attribute tells apart."""
    found = {node.op_type for node in model.graph.node} & {"Softmax", "LogSoftmax"}
    if opset < _OPSET_OF_SOFTMAX and found:
        raise OnnxError(
            f"the network is of opset {opset}, whose {min(found)} is another one, and cannot be converted "
            f"({error}). Export it with opset {_OPSET}."
        ) from error


def _asymmetric(model: Any) -> Any:
    """Give each Resize the coordinates that were the only ones: the converter forgets them."""
    from onnx import helper

    for node in model.graph.node:
        if node.op_type == "Resize":
            kept = [item for item in node.attribute if item.name == "mode"]
            del node.attribute[:]
            settings = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            node.attribute.extend([*kept, *(helper.make_attribute(*pair) for pair in settings.items())])
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
