"""What a Graph refuses, and its JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from featherweight.errors import GraphError
from featherweight.runtime import reference
from featherweight.runtime.activation import KINDS, Activation
from featherweight.runtime.graph import Constant, Graph, Input, Operation, infer_dtypes, infer_shapes
from featherweight.runtime.graph_json import from_json, parse, to_json
from featherweight.runtime.operations import schemas
from featherweight.runtime.reference.activations import FUNCTIONS
from featherweight.runtime.reference.kernel import kernels

RELU = Activation("relu")
WEIGHT = Constant(np.ones((4, 3, 3, 3), np.float32))


def conv(**changes: Any) -> Operation:
    parts: dict[str, Any] = {
        "op": "conv",
        "name": "c",
        "inputs": ("x",),
        "outputs": ("y",),
        "attributes": {"pads": [1, 1, 1, 1], "activation": RELU},
        "constants": {"weight": "w"},
    }
    return Operation(**(parts | changes))


def graph(*operations: Operation, **changes: Any) -> Graph:
    parts: dict[str, Any] = {
        "inputs": (Input("x", (None, 3, 5, 5)),),
        "outputs": ("y",),
        "operations": operations or (conv(),),
        "constants": {"w": WEIGHT},
    }
    return Graph(**(parts | changes))


def test_attributes_come_out_with_their_defaults() -> None:
    attributes = conv().attributes
    assert attributes["pads"] == (1, 1, 1, 1)
    assert attributes["strides"] == (1, 1)
    assert attributes["groups"] == 1
    assert "kernel" not in attributes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"op": "convolve"}, "conv_transpose"),
        ({"inputs": ()}, "takes 1 to 2 inputs"),
        ({"outputs": ("y", "z")}, "gives one output"),
        ({"constants": {}}, "'weight'"),
        ({"constants": {"weight": "w", "wait": "w"}}, "'wait'"),
        ({"attributes": {"pads": [1, 1]}}, "pads: expected a list of 4 whole numbers"),
        ({"attributes": {"pads": [1, 1, 1, -1]}}, "pads: expected a whole number in"),
        ({"attributes": {"pads": [1, 1, 1, True]}}, "pads: expected a whole number in"),
        ({"attributes": {"padding": 1}}, "'padding'"),
        ({"attributes": {"kernel": "fast"}}, "sparse, dense"),
        ({"attributes": {"activation": {"kind": "rely"}}}, "hard_swish"),
        ({"attributes": {"activation": {"kind": "clip", "min": 0}}}, r"\['min', 'max'\]"),
    ],
)
def test_operations_that_are_none(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        conv(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"operations": (conv(inputs=("z",)),)}, "'z'.*not known before"),
        ({"operations": (conv(), conv(name="d"))}, "'y' is used twice"),
        ({"operations": (conv(), conv(outputs=("z",)))}, "operation: the name 'c' is used twice"),
        ({"constants": {}}, "'w'"),
        ({"outputs": ("q",)}, "'q'"),
        ({"outputs": ()}, "one output at least"),
        ({"outputs": ("y", "y")}, "stands twice"),
        ({"inputs": ()}, "'x'"),
    ],
)
def test_graphs_that_are_none(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        graph(**changes)


def test_inputs_and_constants_that_are_none() -> None:
    with pytest.raises(GraphError, match="float16"):
        Input("x", (1,), "float16")
    with pytest.raises(GraphError, match="above 0"):
        Input("x", (0,))
    with pytest.raises(GraphError, match="float64"):
        Constant(np.ones(3))
    with pytest.raises(GraphError, match="finite"):
        Activation("clip", (0.0, float("inf")))


def test_shapes() -> None:
    shapes = infer_shapes(graph())
    assert shapes["y"][1:] == (4, 5, 5)
    assert shapes["y"][0] == shapes["x"][0]


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (conv(attributes={"groups": 3}), "weight"),
        (conv(inputs=("x", "x")), "residual"),
        (conv(constants={"weight": "w", "bias": "w"}), "bias"),
        (Operation("linear", "l", ("x",), ("y",), constants={"weight": "w"}), "weight"),
        (Operation("transpose", "t", ("x",), ("y",), {"permutation": [0, 0, 1, 2]}), "permutation"),
        (Operation("reshape", "r", ("x",), ("y",), {"shape": [-1, -1]}), "one -1"),
        (Operation("softmax", "s", ("x",), ("y",), {"axis": 4}), "axes"),
        (Operation("pad", "p", ("x",), ("y",), {"pads": [1]}), "two pads"),
        (Operation("concat", "c", ("x", "x"), ("y",), {"axis": 4}), "axis 4"),
        (Operation("resize", "r", ("x",), ("y",), {"mode": "linear"}), "scales or sizes"),
    ],
)
def test_shapes_that_do_not_fit(operation: Operation, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        infer_shapes(graph(operation))


def test_only_floats_are_computed_with() -> None:
    picked = Operation("arg_max", "a", ("x",), ("i",), {"axis": 1})
    added = Operation("unary", "u", ("i",), ("y",), {"activation": RELU})
    with pytest.raises(GraphError, match="int64"):
        infer_dtypes(graph(picked, added))


def test_json_there_and_back() -> None:
    before = graph()
    table = parse(to_json(before), "here")
    after = from_json(table, {"w": WEIGHT.array}, "here")
    assert after.inputs == before.inputs
    assert after.outputs == before.outputs
    assert after.operations == before.operations
    assert to_json(after) == to_json(before)


def test_json_is_that_of_the_design() -> None:
    table = json.loads(to_json(graph()))
    assert table["version"] == 1
    assert table["inputs"] == [{"name": "x", "dtype": "float32", "shape": [None, 3, 5, 5]}]
    assert table["operations"][0]["attributes"]["activation"] == {"kind": "relu"}
    assert table["constants"] == {"w": {"shape": [4, 3, 3, 3], "storage": "dense"}}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"inputs": {}},
        {"inputs": [{"name": "x", "dtype": "float32"}]},
        {"operations": [{"op": "conv"}]},
        {"operations": [3]},
        {"outputs": "y"},
        {"constants": {"w": {"shape": [-1], "storage": "dense"}}},
        {"constants": {"w": {"shape": [4, 3, 3, 3], "storage": "thin"}}},
        {"more": 1},
    ],
)
def test_json_that_is_no_graph(change: dict[str, Any]) -> None:
    table = json.loads(to_json(graph())) | change
    with pytest.raises(GraphError, match="here"):
        from_json(parse(json.dumps(table), "here"), {"w": WEIGHT.array}, "here")


def test_every_operation_has_a_reference() -> None:
    assert set(schemas) == set(kernels)
    assert set(KINDS) == set(FUNCTIONS)


def test_the_reference_counts_by_hand() -> None:
    """3x3 ones over ones of 3 channels: 27 inside, 12 at corners, 18 at edges."""
    got = reference.run(graph(), {"x": np.ones((1, 3, 5, 5), np.float32)})["y"]
    assert got[0, 0].tolist() == [
        [12, 18, 18, 18, 12],
        *[[18, 27, 27, 27, 18]] * 3,
        [12, 18, 18, 18, 12],
    ]
