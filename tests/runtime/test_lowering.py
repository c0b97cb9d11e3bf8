"""Every operator that is lowered, against onnxruntime: lowered, and fused, through the naive reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from featherweight.runtime import fusion, reference
from featherweight.runtime.graph import infer_dtypes, infer_shapes
from featherweight.runtime.lowering import lower
from featherweight.runtime.lowering.node import handlers

SOURCE = np.random.default_rng(7)
IMAGE = ("n", 6, 9, 8)


def floats(*shape: int) -> np.ndarray:
    return SOURCE.standard_normal(shape).astype(np.float32)


def whole(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


@dataclass(frozen=True)
class Case:
    """One node on "x"; ``constants`` are its further inputs in order, "" leaves one out."""

    op: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Sequence[Any] = ()
    shape: Sequence[int | str] = IMAGE
    opset: int = 20
    second: Sequence[int | str] | None = None  # a further input "y", before the constants
    first: Any = None  # a constant in the place of "x", which is then second
    outputs: int = 1
    kind: int = onnx.TensorProto.FLOAT
    positive: bool = False

    def __str__(self) -> str:
        settings = ",".join(f"{name}={value}" for name, value in self.attributes.items())
        return f"{self.op}({settings}){list(self.shape)}".replace(" ", "")


def conv(attributes: Mapping[str, Any], weight: Sequence[int], bias: int = 0, shape: Any = IMAGE) -> Case:
    return Case("Conv", attributes, [floats(*weight), *([floats(bias)] if bias else [])], shape)


def transposed(attributes: Mapping[str, Any], weight: Sequence[int], shape: Any = IMAGE) -> Case:
    return Case(
        "ConvTranspose", attributes, [floats(*weight), floats(weight[1] * attributes.get("group", 1))], shape
    )


def resize(attributes: Mapping[str, Any], scales: Any = None, sizes: Any = None, shape: Any = IMAGE) -> Case:
    given = ["", scales] if sizes is None else ["", "", sizes]
    return Case("Resize", attributes, given, shape)


SYMMETRIC = {"coordinate_transformation_mode": "half_pixel_symmetric"}
ALIGNED = {"coordinate_transformation_mode": "align_corners"}
PYTORCH = {"coordinate_transformation_mode": "pytorch_half_pixel"}
FIXED = (2, 6, 9, 8)
CASES = [
    conv({}, (4, 6, 3, 3), 4),
    conv({"pads": [1, 2, 0, 1], "strides": [2, 1]}, (4, 6, 3, 2)),
    conv({"dilations": [2, 3], "pads": [2, 2, 2, 2]}, (5, 6, 3, 3), 5),
    conv({"group": 6, "pads": [1, 1, 1, 1]}, (12, 1, 3, 3), 12),
    conv({"group": 3, "strides": [3, 2]}, (6, 2, 1, 1)),
    conv({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (4, 6, 3, 4), shape=FIXED),
    conv({"auto_pad": "SAME_LOWER", "strides": [2, 3]}, (4, 6, 4, 4), shape=FIXED),
    conv({"auto_pad": "SAME_UPPER"}, (4, 6, 4, 3), shape=("n", 6, "h", "w")),
    conv({"auto_pad": "VALID"}, (4, 6, 2, 2)),
    conv({"pads": [1, 2], "strides": [2], "dilations": [2]}, (4, 6, 3), 4, shape=("n", 6, 11)),
    conv({"auto_pad": "SAME_UPPER", "strides": [2]}, (4, 6, 3), shape=(2, 6, 11)),
    transposed({"strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 2]}, (6, 4, 3, 4)),
    transposed({"group": 2, "dilations": [2, 1]}, (6, 2, 3, 2)),
    transposed({"strides": [2, 2], "output_shape": [18, 17]}, (6, 4, 3, 3), FIXED),
    transposed({"strides": [2, 2], "auto_pad": "SAME_UPPER"}, (6, 4, 3, 3), FIXED),
    transposed({"strides": [2], "pads": [1, 0]}, (6, 4, 3), ("n", 6, 7)),
    transposed({"strides": [3, 2], "output_shape": [28, 18]}, (6, 4, 3, 3), FIXED),
    Case("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 1, 0]}),
    Case("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "pads": [1, 1, 1, 1]}),
    Case("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 3]}),
    Case("MaxPool", {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}, shape=("n", 6, 9)),
    Case("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, shape=FIXED),
    Case("AveragePool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}),
    Case("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Case("AveragePool", {"kernel_shape": [2], "strides": [2]}, shape=("n", 6, 9)),
    Case("AveragePool", {"kernel_shape": [9, 8]}, shape=FIXED),
    Case("GlobalAveragePool"),
    Case("GlobalAveragePool", shape=("n", 6, 5)),
    Case("GlobalAveragePool", shape=("n", 6, 5, 4, 3)),
    Case("GlobalMaxPool"),
    Case("Gemm", {"transB": 1}, [floats(5, 6), floats(5)], ("n", 6)),
    Case("Gemm", {"alpha": 0.5, "beta": 2.0}, [floats(6, 5), floats(1, 5)], ("n", 6)),
    Case("Gemm", {"transA": 1}, [floats(6, 5), floats(1)], (6, 3)),
    Case("Gemm", {}, [floats(6, 5), floats(2, 5)], (2, 6)),
    Case("MatMul", {}, [floats(8, 5)]),
    Case("MatMul", {}, [floats(1, 1, 8, 5)]),
    Case("MatMul", {}, [floats(8)]),
    Case("MatMul", {}, shape=("n", 3, 4, 5), second=("n", 3, 5, 2)),
    Case("MatMul", {}, shape=("n", 9, 4), first=floats(5, 9)),
    Case("MatMul", {}, shape=("n", 3, 4, 5), second=(5,)),
    Case("MatMul", {}, shape=(4,), second=("n", 4, 5)),
    *(Case(op, {}, [floats(6, 1, 1)]) for op in ("Add", "Sub", "Mul")),
    *(Case(op, {}, first=floats(8)) for op in ("Add", "Sub", "Mul")),
    *(Case(op, {}, second=("n", 1, 9, 1)) for op in ("Add", "Sub", "Mul")),
    Case("Div", {}, [np.float32(3)]),
    Case("Div", {}, [np.abs(floats(9, 1)) + 1]),
    Case("Div", {}, first=floats(6, 1, 1), positive=True),
    Case("Sum", {}, second=IMAGE),
    *(Case("Pow", {}, [np.float32(power)], positive=True) for power in (1, 2, 3, 4, 0.5, -0.5)),
    Case("Mean", {}, second=IMAGE),
    Case("Min", {}, [np.float32(0.3)]),
    Case("Min", {}, [np.float32(0.3), np.float32([-0.2])]),
    Case("Max"),
    Case("Max", {}, [np.float32(0)]),
    Case("Reciprocal", positive=True),
    *(Case(op) for op in ("Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Erf", "Exp", "Abs", "Neg")),
    Case("Sqrt", positive=True),
    Case("Softsign"),
    Case("Mish", opset=18),
    Case("LeakyRelu", {"alpha": 0.2}),
    Case("Elu", {"alpha": 1.5}),
    Case("Selu"),
    Case("Celu", {"alpha": 0.7}),
    Case("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
    Case("Gelu"),
    Case("Gelu", {"approximate": "tanh"}),
    Case("Clip", {}, [np.float32(-0.5), np.float32(0.7)]),
    Case("Clip", {}, ["", np.float32(0.2)]),
    Case("Clip", {}, [np.float32(0)]),
    Case("Clip", {"min": -0.1, "max": 0.4}, opset=10),
    Case("PRelu", {}, [np.float32([0.1])]),
    Case("PRelu", {}, [floats(6, 1, 1)]),
    Case("ReduceMean", {}, [whole(2, 3)]),
    Case("ReduceMean", {"keepdims": 0}, [whole(-1, -2)]),
    Case("ReduceMean", {"keepdims": 0}, [whole(1)]),
    Case("ReduceMean", {"axes": [2, 3], "keepdims": 0}, opset=13),
    Case("ReduceMean", {}),
    Case("ReduceSum", {"keepdims": 0}, [whole(1, 3)]),
    Case("ReduceL1", {}, [whole(1)]),
    Case("ReduceL2", {}, [whole(1)]),
    Case("ReduceSumSquare", {}, [whole(3)]),
    Case("ReduceMax", {"keepdims": 0}, [whole(2, 3)]),
    Case("ReduceMax", {}, [whole(2, 3)]),
    Case("ReduceMax", {}, [whole(1)]),
    Case("ReduceMax", {"keepdims": 0}, [whole(3)]),
    Case("ReduceMax", {}),
    Case("ReduceMin", {"keepdims": 0}, [whole(1, -1)]),
    Case("Softmax"),
    Case("Softmax", {"axis": 1}),
    Case("LogSoftmax"),
    Case("LogSoftmax", {"axis": 1}),
    Case("ArgMax", {"axis": 1}, kind=onnx.TensorProto.INT64),
    Case("ArgMax", {"axis": -1, "keepdims": 0}, kind=onnx.TensorProto.INT64),
    Case("ArgMin", {"axis": 1}, kind=onnx.TensorProto.INT64),
    Case("BatchNormalization", {"epsilon": 0.01}, [*floats(3, 6), np.abs(floats(6)) + 0.5]),
    Case("BatchNormalization", {}, [*floats(3, 6), np.abs(floats(6)) + 0.5], ("n", 6)),
    Case("LayerNormalization", {}, [floats(8), floats(8)]),
    Case("LayerNormalization", {"axis": 2}, [floats(9, 8)]),
    Case("LayerNormalization", {}, [floats(8), floats(8)], outputs=3),
    Case("InstanceNormalization", {}, [floats(6), floats(6)]),
    Case("GroupNormalization", {"num_groups": 3}, [floats(6), floats(6)], opset=21),
    resize({"mode": "nearest"}, np.float32([1, 1, 2, 2])),
    resize(
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        np.float32([1, 1, 1.5, 2.7]),
    ),
    resize({"mode": "nearest", "nearest_mode": "ceil"}, np.float32([1, 1, 0.6, 2])),
    resize({"mode": "nearest", "nearest_mode": "round_prefer_ceil"}, np.float32([1, 1, 0.5, 2.5])),
    resize({"mode": "linear"}, np.float32([1, 1, 2, 3])),
    resize({"mode": "linear", **ALIGNED}, sizes=whole(2, 6, 5, 13), shape=FIXED),
    resize(
        {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
        "",
        whole(2, 6, 1, 13),
        FIXED,
    ),
    resize({"mode": "linear", "axes": [2, 3]}, sizes=whole(12, 4)),
    resize({"mode": "linear"}, np.float32([1, 1, 2]), shape=("n", 6, 7)),
    resize({"mode": "linear", **SYMMETRIC}, np.float32([1, 1, 2, 0.5]), shape=("n", 6, "h", 8)),
    resize({"mode": "linear", **SYMMETRIC}, sizes=whole(2, 6, 5, 13), shape=FIXED),
    Case("Resize", {"mode": "linear"}, [np.float32([1, 1, 2, 3])], opset=10),
    Case("Resize", {}, [np.float32([1, 1, 1.7, 2.4])], opset=10),
    Case("Upsample", {"mode": "nearest"}, [np.float32([1, 1, 2, 3])], opset=9),
    Case("Upsample", {"mode": "linear"}, [np.float32([1, 1, 2, 3])], opset=9),
    Case("Reshape", {}, [whole(0, 2, 3, -1)]),
    Case("Reshape", {}, [whole(-1, 432)]),
    Case("Flatten"),
    Case("Flatten", {"axis": 3}),
    Case("Flatten", {"axis": 0}, shape=FIXED),
    Case("Squeeze", {}, [whole(1, 3)], ("n", 1, 5, 1)),
    Case("Squeeze", {}, shape=(2, 1, 5, 1)),
    Case("Unsqueeze", {}, [whole(1, -1)], ("n", 5, 4)),
    Case("Unsqueeze", {"axes": [0, 2]}, shape=("n", 5, 4), opset=11),
    Case("Transpose"),
    Case("Transpose", {"perm": [0, 2, 3, 1]}),
    Case("Identity"),
    Case("Dropout"),
    Case("Expand", {}, [whole(2, 6, 9, 8)], (2, 6, 1, 8)),
    Case("Expand", {}, [whole(6, 1, 1)]),
    Case("Expand", {}, [whole(2, 1, 1, 5)], (3, 1)),
    Case("Cast", {"to": onnx.TensorProto.INT32}, kind=onnx.TensorProto.INT32),
    Case("DepthToSpace", {"blocksize": 2}, shape=("n", 8, 3, 4)),
    Case("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, shape=("n", 8, 3, 4)),
    Case("SpaceToDepth", {"blocksize": 2}, shape=("n", 2, 6, 4)),
    Case("Softmax", {"axis": 2}, opset=11),
    Case("LogSoftmax", {"axis": 2}, opset=11),
    Case("Slice", {}, [whole(1, -4), whole(5, 2**40), whole(1, 3)]),
    Case("Slice", {}, [whole(0), whole(7), whole(2), whole(3)]),
    Case("Slice", {}, [whole(-1), whole(-(2**40)), whole(2), whole(-2)]),
    Case("Slice", {"starts": [1], "ends": [-1], "axes": [2]}, opset=9),
    Case("Split", {"axis": 1}, [whole(1, 3, 2)], outputs=3),
    Case("Split", {"axis": 2, "num_outputs": 2}, outputs=2),
    Case("Gather", {"axis": 1}, [np.int64(2)]),
    Case("Gather", {"axis": 2}, [np.int64(-1)]),
    Case("Gather", {"axis": 3}, [whole(1, 3, 5)]),
    Case("Gather", {"axis": 1}, [whole(0, 1, 5, 3, 2, 2)]),
    Case("Gather", {"axis": 1}, [whole(-1, 2, -6)]),
    Case("Gather", {"axis": 1}, [np.asarray([[0, 3], [1, 4]])]),
    Case("Concat", {"axis": 1}, second=("n", 2, 9, 8)),
    Case("Concat", {"axis": -1}, [floats(2, 6, 9, 3)], FIXED),
    Case("Concat", {"axis": 1}, first=floats(2, 2, 9, 8), shape=FIXED),
    Case("Pad", {}, [whole(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.5)]),
    Case("Pad", {"mode": "reflect"}, [whole(0, 0, 1, 2, 0, 0, 3, 0)]),
    Case("Pad", {"mode": "edge"}, [whole(0, 1, 1, 2, 0, 0, 3, 0)]),
    Case("Pad", {"mode": "wrap"}, [whole(0, 0, 1, 2, 0, 0, 3, 0)]),
    Case("Pad", {}, [whole(1, 2), "", whole(3)]),
    Case("Pad", {}, [whole(0, 0, -1, 0, 0, 0, 2, -3)]),
    Case("Pad", {"pads": [0, 0, 1, 1, 0, 0, 0, 2], "value": 2.0}, opset=10),
]


def network(nets: SimpleNamespace, case: Case) -> onnx.ModelProto:
    constants = {
        f"c{place}": array for place, array in enumerate(case.constants) if not isinstance(array, str)
    }
    further = [f"c{place}" if f"c{place}" in constants else "" for place in range(len(case.constants))]
    names = ["x", *(["y"] if case.second else []), *further]
    if case.first is not None:
        constants["first"], names = case.first, ["first", *names]
    inputs = {"x": case.shape, **({"y": case.second} if case.second else {})}
    outputs = [f"out{place}" for place in range(case.outputs)]
    node = nets.node(case.op, names, outputs, name=case.op.lower(), **case.attributes)
    return nets.model([node], inputs, outputs, constants, case.opset, dict.fromkeys(outputs, case.kind))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_onnxruntime(nets: SimpleNamespace, case: Case) -> None:
    made = network(nets, case)
    feeds = nets.feeds_for(made)
    if case.positive:
        feeds = {name: np.abs(array) + 0.5 for name, array in feeds.items()}
    expected = nets.by_onnxruntime(made, feeds)
    lowered = lower(made)
    for graph in (lowered, fusion.fuse(lowered)):
        infer_dtypes(graph)
        shapes = infer_shapes(graph)
        got = reference.run(graph, feeds)
        assert list(got) == [value.name for value in made.graph.output]
        for name, array in zip(got, expected, strict=True):
            assert got[name].shape == array.shape
            assert got[name].dtype == array.dtype
            np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=2e-5)
            known = [
                (size, real)
                for size, real in zip(shapes[name], array.shape, strict=True)
                if isinstance(size, int)
            ]
            assert all(size == real for size, real in known)


NEWER = [
    Case("Swish", {"alpha": 1.0}, opset=24),
    Case("Swish", {"alpha": 1.7}, opset=24),
    Case("RMSNormalization", {"epsilon": 0.1}, [floats(8)], opset=23),
]


@pytest.mark.parametrize("case", NEWER, ids=str)
def test_newer_than_onnxruntime_as_onnx(nets: SimpleNamespace, case: Case) -> None:
    made = network(nets, case)
    feeds = nets.feeds_for(made)
    (expected,) = ReferenceEvaluator(made).run(None, feeds)
    got = reference.run(fusion.fuse(lower(made)), feeds)
    np.testing.assert_allclose(got["out0"], expected, rtol=1e-4, atol=1e-5)


def test_every_handler_has_a_case() -> None:
    assert {case.op for case in (*CASES, *NEWER)} == set(handlers)
