"""Small ONNX networks, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

OPSET = 20


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: Mapping[str, Any] | None = None,
    opset: int = OPSET,
    output_types: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """Return a checked network of float32 inputs; a size that is a text is free."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
            for name, shape in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, (output_types or {}).get(name, TensorProto.FLOAT), None)
            for name in outputs
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 9
    made = onnx.shape_inference.infer_shapes(made)
    for value in made.graph.output:  # the checker wants a shape; any will do
        if not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()
    return made


def by_onnxruntime(made: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(feeds))


def feeds_for(made: onnx.ModelProto, seed: int = 0, free: int = 2) -> dict[str, np.ndarray]:
    """Return random inputs; free sizes are ``free``."""
    source = np.random.default_rng(seed)
    feeds: dict[str, np.ndarray] = {}
    held = {tensor.name for tensor in made.graph.initializer}
    for value in made.graph.input:
        if value.name in held:
            continue
        shape = [dim.dim_value or free for dim in value.type.tensor_type.shape.dim]
        feeds[value.name] = source.standard_normal(shape).astype(np.float32)
    return feeds


@pytest.fixture(scope="session")
def nets() -> SimpleNamespace:
    """The functions of this file: test modules cannot import each other."""
    return SimpleNamespace(
        model=model, by_onnxruntime=by_onnxruntime, feeds_for=feeds_for, node=helper.make_node
    )
