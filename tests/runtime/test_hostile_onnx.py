"""Broken and hostile ONNX networks: only errors of ours come out of compile, whatever goes in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import featherweight as fw
from featherweight.errors import FeatherweightError, OnnxError, UnsupportedError
from featherweight.runtime import compiling

node = helper.make_node
SOURCE = np.random.default_rng(0)
NUMBERS = (-(2**63), -(2**31), -7, -1, 0, 1, 2, 3, 2**16, 2**31 - 1, 2**31, 2**40, 2**62)
OPERATORS = (
    *(
        "Conv",
        "Gemm",
        "Relu",
        "Reshape",
        "Softmax",
        "Concat",
        "Pad",
        "Resize",
        "Slice",
        "If",
        "Loop",
        "Constant",
    ),
    *(
        "Cast",
        "Expand",
        "Tile",
        "Range",
        "ConstantOfShape",
        "Where",
        "Gather",
        "Nothing",
        "Upsample",
        "Dropout",
    ),
    *(
        "Identity",
        "Sum",
        "Max",
        "Pow",
        "ReduceMax",
        "Unsqueeze",
        "Flatten",
        "SpaceToDepth",
        "Split",
        "MatMul",
    ),
)


def floats(*shape: int) -> np.ndarray:
    return SOURCE.standard_normal(shape).astype(np.float32)


def whole(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


def classifier(nets: SimpleNamespace) -> onnx.ModelProto:
    """Convolutions, a norm, and sizes that are computed in the graph."""
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2], name="conv"),
        node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"]),
        node("Relu", ["b"], ["c"]),
        node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[1, 1]),
        node("Shape", ["d"], ["sizes"]),
        node("Gather", ["sizes", "zeroth"], ["n"]),
        node("Concat", ["n", "rest"], ["into"], axis=0),
        node("Reshape", ["d", "into"], ["e"]),
        node("Gemm", ["e", "g", "h"], ["f"], transB=1),
        node("Softmax", ["f"], ["y"]),
    ]
    constants = {"w": floats(4, 3, 3, 3), "s": np.ones(4, np.float32), "zeroth": whole(0), "rest": whole(-1)}
    return nets.model(nodes, {"x": ("n", 3, 8, 8)}, ["y"], constants | {"g": floats(5, 36), "h": floats(5)})


def decoder(nets: SimpleNamespace) -> onnx.ModelProto:
    """What moves, resizes and reduces."""
    nodes = [
        node("ConvTranspose", ["x", "w"], ["a"], strides=[2, 2], output_padding=[1, 1]),
        node("Pad", ["a", "pads"], ["b"], mode="reflect"),
        node("Split", ["b", "parts"], ["c", "d"], axis=1),
        node("Concat", ["d", "c"], ["e"], axis=1),
        node("Resize", ["e", "", "scales"], ["f"], mode="linear"),
        node("AveragePool", ["f"], ["g"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        node("DepthToSpace", ["g"], ["h"], blocksize=2),
        node("Transpose", ["h"], ["i"], perm=[0, 2, 3, 1]),
        node("MatMul", ["i", "m"], ["j"]),
        node("LayerNormalization", ["j", "s", "s"], ["k"]),
        node("Slice", ["k", "zero", "five", "one"], ["l"]),
        node("Clip", ["l", "low"], ["m1"]),
        node("ReduceMean", ["m1", "axes"], ["n"]),
        node("Squeeze", ["n", "axes"], ["o"]),
        node("PRelu", ["o", "s"], ["p"]),
        node("Gather", ["p", "places"], ["y"], axis=1),
    ]
    constants = {"w": floats(3, 4, 3, 3), "pads": whole(0, 0, 1, 1, 0, 0, 1, 1), "parts": whole(1, 3)}
    constants |= {"scales": np.float32([1, 1, 2, 2]), "m": floats(1, 6), "s": floats(6), "low": np.float32(0)}
    constants |= {"zero": whole(0), "five": whole(5), "one": whole(1), "axes": whole(1, 2)}
    return nets.model(nodes, {"x": ("n", 3, 8, 8)}, ["y"], constants | {"places": whole(0, 2, 1)}, opset=18)


def pick(source: np.random.Generator, choices: Any) -> Any:
    return choices[int(source.integers(len(choices)))]


def bytes_mutated(data: bytes, source: np.random.Generator) -> bytes:
    """Cut off, flip bits, write, insert, delete or repeat."""
    made = bytearray(data)
    at, end = sorted(int(place) for place in source.integers(len(made), size=2))
    match int(source.integers(6)):
        case 0:
            del made[at:]
        case 1:
            made[at] ^= 1 << int(source.integers(8))
        case 2:
            made[at] = pick(source, (0, 1, 0x7F, 0x80, 0xFF))
        case 3:
            made[at:at] = source.bytes(int(source.integers(1, 9)))
        case 4:
            del made[at : at + int(source.integers(1, 9))]
        case _:
            made[at:at] = made[at : min(end, at + 64)]
    return bytes(made)


def change_attribute(source: np.random.Generator, graph: Any) -> None:
    attribute = pick(source, [each for each_node in graph.node for each in each_node.attribute])
    if source.integers(4) == 0:
        attribute.type = int(source.integers(12))
    elif attribute.type == attribute.INTS and attribute.ints:
        attribute.ints[int(source.integers(len(attribute.ints)))] = pick(source, NUMBERS)
    elif attribute.type == attribute.INT:
        attribute.i = pick(source, NUMBERS)
    elif attribute.type == attribute.STRING:
        attribute.s = pick(source, (b"", b"SAME_UPPER", b"\xff\xfe", b"wrap"))


def change_input(source: np.random.Generator, graph: Any) -> None:
    changed = pick(source, graph.node)
    names = ["", "nothing", "x", "y", "w", pick(source, graph.node).output[0]]
    if changed.input:
        changed.input[int(source.integers(len(changed.input)))] = pick(source, names)


def drop_input(source: np.random.Generator, graph: Any) -> None:
    changed = pick(source, graph.node)
    del changed.input[-1:]


def change_operator(source: np.random.Generator, graph: Any) -> None:
    pick(source, graph.node).op_type = pick(source, OPERATORS)


def change_tensor(source: np.random.Generator, graph: Any) -> None:
    tensor = pick(source, graph.initializer)
    match int(source.integers(4)):
        case 0 if tensor.dims:
            tensor.dims[int(source.integers(len(tensor.dims)))] = pick(source, NUMBERS)
        case 1:
            tensor.data_type = int(source.integers(25))
        case 2:
            tensor.raw_data = tensor.raw_data[: int(source.integers(len(tensor.raw_data) + 1))]
        case _:
            data = bytearray(tensor.raw_data)
            data[int(source.integers(len(data)))] = pick(source, (0, 1, 0x7F, 0x80, 0xFF))
            tensor.raw_data = bytes(data)


def drop_tensor(source: np.random.Generator, graph: Any) -> None:
    del graph.initializer[int(source.integers(len(graph.initializer)))]


def change_size(source: np.random.Generator, graph: Any) -> None:
    pick(source, graph.input[0].type.tensor_type.shape.dim).dim_value = pick(source, NUMBERS)


CHANGES: list[Callable[[np.random.Generator, Any], None]] = [
    change_attribute,
    change_attribute,
    change_input,
    drop_input,
    change_operator,
    change_tensor,
    change_tensor,
    drop_tensor,
    change_size,
]


def compiles(network: Any) -> bool:
    """Whether it compiles; an error that is not ours goes through, and so does a warning."""
    try:
        fw.compile(network, threads=1, tune=False)
    except FeatherweightError:
        return False
    return True


@pytest.mark.parametrize("make", [classifier, decoder])
def test_bytes_that_were_changed(nets: SimpleNamespace, make: Any) -> None:
    data = make(nets).SerializeToString()
    assert compiles(data)
    source = np.random.default_rng(1)
    outcomes = [compiles(bytes_mutated(data, source)) for _ in range(200)]
    assert True in outcomes
    assert False in outcomes


@pytest.mark.parametrize("make", [classifier, decoder])
@pytest.mark.parametrize("change", dict.fromkeys(CHANGES), ids=lambda change: change.__name__)
def test_networks_that_were_changed(nets: SimpleNamespace, make: Any, change: Any) -> None:
    """What is well formed as a file, and means nothing."""
    network = make(nets)
    source = np.random.default_rng(2)
    outcomes: list[bool] = []
    for _ in range(30):
        changed = onnx.ModelProto()
        changed.CopyFrom(network)
        change(source, changed.graph)
        outcomes.append(compiles(changed))
    assert False in outcomes


def one(nets: SimpleNamespace, made: Any, constants: dict[str, Any] | None = None) -> onnx.ModelProto:
    return nets.model([made], {"x": ("n", 3, 8, 8)}, ["y"], constants)


CONV = node("Conv", ["x", "w"], ["y"], name="it")


@pytest.mark.parametrize(
    ("made", "constants", "words"),
    [
        (CONV, {"w": floats(4, 2, 3, 3)}, "it"),
        (CONV, {"w": floats(4, 3)}, "it"),
        (CONV, {"w": floats(4, 3, 9, 9)}, "fits into"),
        (CONV, {"w": np.full((4, 3, 3, 3), "text", dtype=object)}, "weight"),
        (CONV, {"w": np.ones((4, 3, 3, 3), np.complex64)}, "weight is complex64"),
        (node("Conv", ["x", "w"], ["y"], strides=[0, 1], name="it"), {"w": floats(4, 3, 3, 3)}, "strides"),
        (
            node("Conv", ["x", "w"], ["y"], strides=[2**40, 1], name="it"),
            {"w": floats(4, 3, 3, 3)},
            "strides",
        ),
        (
            node("Conv", ["x", "w"], ["y"], pads=[-1, 0, 0, 0], name="it"),
            {"w": floats(4, 3, 3, 3)},
            "negative",
        ),
        (node("Conv", ["x", "w"], ["y"], pads=[1, 1], name="it"), {"w": floats(4, 3, 3, 3)}, "it"),
        (node("Conv", ["x", "w"], ["y"], group=0, name="it"), {"w": floats(4, 3, 3, 3)}, "groups"),
        (node("Conv", ["x", "w"], ["y"], strides=[2], name="it"), {"w": floats(4, 3, 3, 3)}, "2 axes"),
        (node("Split", ["x", "p"], ["y", "z"], axis=1, name="it"), {"p": whole(2, 2)}, "cuts 3"),
        (node("Split", ["x", "p"], ["y", "z"], axis=1, name="it"), {"p": whole(4, -1)}, "cuts 3"),
        (node("Reshape", ["x", "t"], ["y"], name="it"), {"t": whole(-1, -1)}, "it"),
        (node("Reshape", ["x", "t"], ["y"], name="it"), {"t": whole(0, 2**40)}, "it"),
        (node("Transpose", ["x"], ["y"], perm=[0, 1, 1, 9], name="it"), {}, "it|perm"),
        (node("Softmax", ["x"], ["y"], axis=2, name="it", axes=[1]), {}, "axes"),
        (node("MaxPool", ["x"], ["y"], kernel_shape=[2**40, 1], name="it"), {}, "it"),
        (node("Concat", ["x", "c"], ["y"], axis=7, name="it"), {"c": floats(1, 3, 8, 8)}, "it|axis"),
        (node("Slice", ["x", "s", "s", "s"], ["y"], name="it"), {"s": np.float32([0.5])}, "it"),
        (node("Gather", ["x", "p"], ["y"], axis=1, name="it"), {"p": whole(0, 99)}, "it"),
        (node("Resize", ["x", "", "s"], ["y"], name="it"), {"s": np.float32([1, 1, -2, 2])}, "it"),
        (node("Pad", ["x", "p"], ["y"], name="it"), {"p": whole(1, 2, 3)}, "it"),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_what_means_nothing_is_named(
    nets: SimpleNamespace, made: Any, constants: dict[str, Any], words: str
) -> None:
    with pytest.raises(FeatherweightError, match=words):
        fw.compile(one(nets, made, constants), threads=1, tune=False)


W, T = {"w": floats(4, 3, 3, 3)}, {"w": floats(3, 4, 3, 3)}
HUGE = 2**20 + 1


@pytest.mark.parametrize(
    ("made", "constants", "words"),
    [
        (node("Conv", ["x", "w"], ["y"], strides=[HUGE, 1], name="it"), W, r"strides: .* \[1, 1048576\]"),
        (node("Conv", ["x", "w"], ["y"], pads=[0, 0, 0, HUGE], name="it"), W, r"pads: .* \[0, 1048576\]"),
        (node("ConvTranspose", ["x", "w"], ["y"], pads=[HUGE] * 4, name="it"), T, "pads"),
        (node("ConvTranspose", ["x", "w"], ["y"], strides=[2**20] * 2, name="it"), T, "17179869184 elements"),
        (node("MaxPool", ["x"], ["y"], kernel_shape=[HUGE, 1], name="it"), {}, "kernel"),
        (node("DepthToSpace", ["x"], ["y"], blocksize=4097, name="it"), {}, r"block: .* \[1, 4096\]"),
        (node("Resize", ["x", "", "s"], ["y"], name="it"), {"s": np.float32([1, 1, 7e4, 1])}, "below 65536"),
        (node("Resize", ["x", "", "s"], ["y"], name="it"), {"s": np.float32([1, 1, 6e4, 6e4])}, "elements"),
        (node("Pad", ["x", "p"], ["y"], name="it"), {"p": whole(0, 0, 0, 2**31 - 1, 0, 0, 0, 2)}, "elements"),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_what_is_beyond_the_limits_is_named_before_a_file_is_written(
    nets: SimpleNamespace, made: Any, constants: dict[str, Any], words: str, tmp_path: Path
) -> None:
    out = tmp_path / "net.fw"
    with pytest.raises(UnsupportedError, match=rf"\n  {made.op_type} \(it\): .*{words}"):
        fw.compile(one(nets, made, constants), out, threads=1, tune=False)
    assert not out.exists()


@pytest.mark.parametrize("shape", [(2**31,), (2**31, 2**31), (2**20, 2**20), ("n", 2**18, 2**18)])
def test_inputs_beyond_the_limits_are_named(nets: SimpleNamespace, shape: tuple[Any, ...]) -> None:
    made = nets.model([node("Relu", ["x"], ["y"])], {"x": shape}, ["y"])
    with pytest.raises(UnsupportedError, match=r"input 'x': .* 17179869184 elements, got \([^)]*\)\.$"):
        fw.compile(made, threads=1, tune=False)


def test_more_operations_than_there_may_be(nets: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "MOST_OPERATIONS", 1)
    made = nets.model([node("Sqrt", ["x"], ["a"]), node("Exp", ["a"], ["y"])], {"x": (2, 3)}, ["y"])
    with pytest.raises(UnsupportedError, match="2 operations; the most is 1"):
        fw.compile(made, threads=1, tune=False)


def test_whole_numbers_in_between_are_refused_and_not_only_when_they_run(nets: SimpleNamespace) -> None:
    nodes = [
        node("Cast", ["x"], ["i"], to=onnx.TensorProto.INT32, name="it"),
        node("Cast", ["i"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    with pytest.raises(UnsupportedError, match="cast 'it': gives int32, which must be an output"):
        fw.compile(nets.model(nodes, {"x": (2, 3)}, ["y"]), threads=1, tune=False)


@pytest.mark.parametrize("last", ["Identity", "Dropout"])
def test_whole_numbers_that_only_pass_on(nets: SimpleNamespace, last: str) -> None:
    nodes = [node("ArgMax", ["x"], ["i"], axis=1, name="it"), node(last, ["i"], ["y"])]
    made = nets.model(nodes, {"x": (2, 3)}, ["y"], output_types={"y": onnx.TensorProto.INT64})
    x = floats(2, 3)
    (expected,) = nets.by_onnxruntime(made, {"x": x}) if last == "Identity" else (x.argmax(1)[:, None],)
    np.testing.assert_array_equal(fw.compile(made, threads=1, tune=False).run(x), expected)


def test_a_weight_that_is_not_there(nets: SimpleNamespace) -> None:
    made = one(nets, CONV, {"w": floats(4, 3, 3, 3)})
    del made.graph.initializer[:]
    with pytest.raises(OnnxError, match="w"):
        fw.compile(made, tune=False)


def test_a_circle(nets: SimpleNamespace) -> None:
    made = one(nets, node("Relu", ["x"], ["y"]))
    made.graph.node.insert(0, node("Add", ["x", "b"], ["a"]))
    made.graph.node.insert(1, node("Add", ["x", "a"], ["b"]))
    made.graph.node[2].input[0] = "b"
    with pytest.raises(OnnxError, match="sort"):
        fw.compile(made, tune=False)


@pytest.mark.parametrize("size", [2**31, 2**62])
def test_weights_that_only_claim_to_be_large(nets: SimpleNamespace, size: int) -> None:
    made = one(nets, CONV, {"w": floats(4, 3, 3, 3)})
    made.graph.initializer[0].dims[0] = size
    with pytest.raises(OnnxError, match="w"):
        fw.compile(made, tune=False)


def test_a_type_of_input_that_there_is_not(nets: SimpleNamespace) -> None:
    for kind in (TensorProto.STRING, TensorProto.FLOAT16, 99):
        made = one(nets, node("Identity", ["x"], ["y"]))
        made.graph.input[0].type.tensor_type.elem_type = kind
        with pytest.raises((OnnxError, UnsupportedError)):
            fw.compile(made, tune=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [("offset", "-8"), ("offset", "99999"), ("length", str(2**62)), ("length", "16"), ("offset", "text")],
)
def test_external_data_that_claim_other_bytes(
    nets: SimpleNamespace, tmp_path: Path, key: str, value: str
) -> None:
    made = nets.model([node("Gemm", ["x", "w"], ["y"])], {"x": ("n", 64)}, ["y"], {"w": floats(64, 64)})
    path = tmp_path / "big.onnx"
    onnx.save(made, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert compiles(path)
    made = onnx.load(path, load_external_data=False)
    (entry,) = [each for each in made.graph.initializer[0].external_data if each.key == key]
    entry.value = value
    path.write_bytes(made.SerializeToString())
    with pytest.raises(OnnxError, match=r"'w'|tensor name: w"):
        fw.compile(path, tune=False)


def test_external_data_by_a_link_out_of_the_folder(nets: SimpleNamespace, tmp_path: Path) -> None:
    made = nets.model([node("Gemm", ["x", "w"], ["y"])], {"x": ("n", 64)}, ["y"], {"w": floats(64, 64)})
    (tmp_path / "net").mkdir()
    path = tmp_path / "net" / "big.onnx"
    onnx.save(made, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "net" / "weights.bin").rename(tmp_path / "secret.bin")
    (tmp_path / "net" / "weights.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(OnnxError, match="must be a file in the folder"):
        fw.compile(path, tune=False)


def test_numbers_that_are_none_make_no_noise(nets: SimpleNamespace) -> None:
    """Infinities in weights are computed with: what comes out is up to the network."""
    made = nets.model(
        [node("Gemm", ["x", "w"], ["y"], alpha=0.0)],
        {"x": ("n", 2)},
        ["y"],
        {"w": np.float32([[np.inf], [1]])},
    )
    assert compiles(made)
    assert numpy_helper.to_array(made.graph.initializer[0])[0, 0] == np.inf
