"""Networks of several nodes: sizes that are computed, constants in odd places, and what is refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from featherweight.errors import OnnxError, UnsupportedError
from featherweight.export import export_onnx
from featherweight.runtime import fusion, reference
from featherweight.runtime.lowering import lower

node = helper.make_node


def check(nets: SimpleNamespace, made: onnx.ModelProto, batches: tuple[int, ...] = (1, 3)) -> Any:
    """Hold a lowered and fused network against onnxruntime; returns it."""
    graph = fusion.fuse(lower(made))
    for batch in batches:
        feeds = nets.feeds_for(made, free=batch)
        expected = nets.by_onnxruntime(made, feeds)
        got = reference.run(graph, feeds)
        for value, array in zip(made.graph.output, expected, strict=True):
            np.testing.assert_allclose(got[value.name], array, rtol=1e-4, atol=1e-5)
    return graph


def test_a_reshape_to_sizes_of_the_input(nets: SimpleNamespace) -> None:
    """x.view(x.size(0), 2, x.size(1) // 2 * x.size(2)), as older exporters write it."""
    constants = {"zero": np.int64(0), "one": np.int64(1), "two": np.asarray([2]), "axis": np.asarray([0])}
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Gather", ["shape", "one"], ["c"]),
        node("Slice", ["shape", "two", "three"], ["h"]),
        node("Div", ["c", "scalar"], ["half"]),
        node("Unsqueeze", ["n", "axis"], ["n1"]),
        node("Unsqueeze", ["half", "axis"], ["half1"]),
        node("Mul", ["half1", "h"], ["rest"]),
        node("Concat", ["n1", "two", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    constants |= {"three": np.asarray([3]), "scalar": np.int64(2)}
    graph = check(nets, nets.model(nodes, {"x": ("n", 6, 5)}, ["y"], constants))
    assert [operation.op for operation in graph.operations] == ["reshape"]


def test_windows_of_a_free_batch(nets: SimpleNamespace) -> None:
    """(N, 4, 4, C) into windows (4 N, 2, 2, C) and back: N is not where it was."""
    nodes = [
        node("Shape", ["x"], ["n"], start=0, end=1),
        node("Concat", ["n", "split"], ["into"], axis=0),
        node("Reshape", ["x", "into"], ["cut"]),
        node("Transpose", ["cut"], ["moved"], perm=[0, 1, 3, 2, 4, 5]),
        node("Mul", ["n", "four"], ["count"]),
        node("Concat", ["count", "window"], ["shape"], axis=0),
        node("Reshape", ["moved", "shape"], ["windows"]),
        node("Softmax", ["windows"], ["weighed"]),
        node("Shape", ["weighed"], ["m"], start=0, end=1),
        node("Div", ["m", "four"], ["images"]),
        node("Concat", ["images", "split"], ["back"], axis=0),
        node("Reshape", ["weighed", "back"], ["y"]),
    ]
    constants = {
        "split": np.asarray([2, 2, 2, 2, 3]),
        "four": np.asarray([4]),
        "window": np.asarray([2, 2, 3]),
    }
    check(nets, nets.model(nodes, {"x": ("n", 4, 4, 3)}, ["y"], constants))


def test_a_class_token_before_a_free_batch(nets: SimpleNamespace) -> None:
    nodes = [
        node("Shape", ["x"], ["n"], start=0, end=1),
        node("Concat", ["n", "one", "one_four"], ["shape"], axis=0),
        node("Expand", ["token", "shape"], ["tokens"]),
        node("Concat", ["tokens", "x"], ["y"], axis=1),
    ]
    token = np.float32([[[1, 2, 3, 4]]])
    constants = {"one": np.asarray([1]), "one_four": np.asarray([4]), "token": token}
    check(nets, nets.model(nodes, {"x": ("n", 5, 4)}, ["y"], constants))


def test_outputs_keep_their_names(nets: SimpleNamespace) -> None:
    """An output that is an input, one that is another output, and one that is reshaped to what it was."""
    nodes = [
        node("Relu", ["x"], ["y"]),
        node("Identity", ["y"], ["again"]),
        node("Identity", ["x"], ["same"]),
        node("Reshape", ["y", "shape"], ["reshaped"]),
    ]
    outputs = ["y", "again", "same", "reshaped"]
    graph = check(nets, nets.model(nodes, {"x": ("n", 3)}, outputs, {"shape": np.asarray([0, 3])}))
    assert graph.outputs == tuple(outputs)


def test_batch_norm_is_folded(nets: SimpleNamespace) -> None:
    source = np.random.default_rng(0)
    norm = {name: np.float32(source.uniform(0.5, 2, 4)) for name in ("scale", "bias", "mean", "variance")}
    weight = source.standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["a", *norm], ["b"]),
        node("Relu", ["b"], ["y"]),
    ]
    graph = check(nets, nets.model(nodes, {"x": ("n", 3, 5, 5)}, ["y"], {"w": weight, **norm}))
    assert [operation.op for operation in graph.operations] == ["conv"]


def test_windows_that_begin_in_the_padding_leave_no_trace(nets: SimpleNamespace) -> None:
    """ONNX's own inference of shapes counts one window too many here; nothing may be folded by it."""
    pooled = node(
        "MaxPool", ["x"], ["p"], ceil_mode=1, kernel_shape=[2, 2], pads=[1, 1, 1, 1], strides=[1, 3]
    )
    nodes = [pooled, node("Flatten", ["p"], ["f"]), node("Gemm", ["f", "w"], ["y"])]
    weight = np.random.default_rng(0).standard_normal((70, 3)).astype(np.float32)
    x = np.random.default_rng(1).standard_normal((2, 1, 9, 19)).astype(np.float32)
    (windows,) = nets.by_onnxruntime(nets.model([pooled], {"x": ("n", 1, 9, 19)}, ["p"]), {"x": x})
    graph = lower(nets.model(nodes, {"x": ("n", 1, 9, 19)}, ["y"], {"w": weight}))
    got = reference.run(graph, {"x": x})["y"]
    np.testing.assert_allclose(got, windows.reshape(2, 70) @ weight, rtol=1e-4, atol=1e-5)


def test_everything_unsupported_is_listed_at_once(nets: SimpleNamespace) -> None:
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("CumSum", ["a", "axis"], ["b"], name="first"),
        node("Relu", ["b"], ["c"], name="fine"),
        node("Sign", ["c"], ["d"], name="second"),
        node("Pow", ["a", "exponent"], ["e"], name="third"),
        node("Add", ["d", "e"], ["y"], name="last"),
    ]
    made = nets.model(nodes, {"x": (2, 3)}, ["y"], {"axis": np.int64(1), "exponent": np.float32(0.3)})
    with pytest.raises(UnsupportedError) as caught:
        lower(made)
    text = str(caught.value)
    assert "3 of its nodes" in text
    for expected in ("CumSum (first)", "Sign (second)", "Pow (third): its exponent is 0.3"):
        assert expected in text
    assert "fine" not in text
    assert "last" not in text


def test_what_no_output_needs_is_not_asked_for(nets: SimpleNamespace) -> None:
    nodes = [node("CumSum", ["x", "axis"], ["unused"]), node("Relu", ["x"], ["y"])]
    check(nets, nets.model(nodes, {"x": (2, 3)}, ["y"], {"axis": np.int64(1)}))


def test_an_embedding_is_named_as_such() -> None:
    made = helper.make_model(
        helper.make_graph(
            [node("Gather", ["table", "x"], ["y"], name="embed")],
            "test",
            [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 3])],
            [onnx.numpy_helper.from_array(np.ones((9, 3), np.float32), "table")],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    with pytest.raises(UnsupportedError, match=r"embed.*an embedding"):
        lower(made)


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x07", b"PK\x03\x04" + bytes(100)])
def test_broken_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(OnnxError, match=r"broken\.onnx"):
        lower(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match="no such file"):
        lower(tmp_path / "none.onnx")


@pytest.mark.parametrize("cut", [40, 90, 200])
def test_files_cut_off_or_flipped_give_our_errors(nets: SimpleNamespace, cut: int) -> None:
    made = nets.model(
        [node("Conv", ["x", "w"], ["y"])],
        {"x": (1, 3, 5, 5)},
        ["y"],
        {"w": np.ones((4, 3, 3, 3), np.float32)},
    )
    data = made.SerializeToString()
    with pytest.raises((OnnxError, UnsupportedError)):
        lower(data[:-cut])
    source = np.random.default_rng(cut)
    for _ in range(30):
        broken = bytearray(data)
        broken[source.integers(len(broken))] ^= 1 << source.integers(8)
        try:
            lower(bytes(broken))
        except (OnnxError, UnsupportedError):
            continue


def test_training_batch_norm_is_refused(nets: SimpleNamespace) -> None:
    nodes = [
        node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y", "m", "v"], training_mode=1, name="bn")
    ]
    made = nets.model(nodes, {"x": (2, 3, 4, 4)}, ["y"], {"s": np.ones(3, np.float32)})
    with pytest.raises(UnsupportedError, match=r"\(bn\): it is exported as training"):
        lower(made)


def with_external(nets: SimpleNamespace, location: str) -> onnx.ModelProto:
    made = nets.model(
        [node("Gemm", ["x", "w"], ["y"])], {"x": ("n", 64)}, ["y"], {"w": np.eye(64, dtype=np.float32)}
    )
    onnx.external_data_helper.convert_model_to_external_data(made, location=location, size_threshold=0)
    return made


def test_external_data_inside_the_folder_is_read(nets: SimpleNamespace, tmp_path: Path) -> None:
    onnx.save(with_external(nets, "weights.bin"), tmp_path / "big.onnx")
    assert (tmp_path / "weights.bin").exists()
    graph = lower(tmp_path / "big.onnx")
    x = np.float32(np.random.default_rng(0).standard_normal((2, 64)))
    np.testing.assert_allclose(reference.run(graph, {"x": x})["y"], x)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "none.bin", ""])
def test_external_data_elsewhere_is_refused(nets: SimpleNamespace, tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(64 * 64 * 4))
    folder = tmp_path / "folder"
    folder.mkdir()
    onnx.save(with_external(nets, "weights.bin"), folder / "big.onnx")
    made = onnx.load(folder / "big.onnx", load_external_data=False)
    for entry in made.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    (folder / "big.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(OnnxError, match="must be a file in the folder"):
        lower(folder / "big.onnx")
    with pytest.raises(OnnxError, match="another file"):
        lower(made)


@pytest.mark.parametrize(
    ("bomb", "constants"),
    [
        (node("ConstantOfShape", ["sizes"], ["c"]), {"sizes": np.asarray([10**6, 10**6])}),
        (
            node("Range", ["a", "b", "a1"], ["c"]),
            {"a": np.int64(0), "b": np.int64(10**12), "a1": np.int64(1)},
        ),
        (
            node("Tile", ["one", "sizes"], ["c"]),
            {"one": np.ones((1, 1), np.float32), "sizes": np.asarray([10**6, 10**6])},
        ),
        (node("Expand", ["x", "sizes"], ["c"]), {"sizes": np.asarray([10**6, 10**6, 3])}),
    ],
)
def test_bombs_are_refused(nets: SimpleNamespace, bomb: Any, constants: dict[str, Any]) -> None:
    """Small files that would make terabytes while compiling."""
    nodes = [
        bomb,
        node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
        node("ReduceMean", ["f"], ["m"], keepdims=0),
        node("Add", ["x", "m"], ["y"]),
    ]
    with pytest.raises(UnsupportedError):
        lower(nets.model(nodes, {"x": ("n", 3)}, ["y"], constants))


def test_lowering_changes_no_model_that_was_given(nets: SimpleNamespace) -> None:
    made = nets.model([node("Relu", ["x"], ["y"])], {"x": (2, 3)}, ["y"])
    before = made.SerializeToString()
    lower(made)
    assert made.SerializeToString() == before


class Tokens(nn.Module):
    """A small vision transformer with a class token: exporters compute its sizes in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return self.head(self.layer(x)[:, 0])


@pytest.mark.parametrize("dynamo", [True, False])
def test_a_transformer_of_either_exporter(nets: SimpleNamespace, tmp_path: Path, dynamo: bool) -> None:
    torch.manual_seed(0)
    model, x, path = Tokens().eval(), torch.randn(2, 3, 8, 8), tmp_path / "tokens.onnx"
    if dynamo:
        export_onnx(model, x, path)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (x,),
                path,
                dynamo=False,
                input_names=["x"],
                dynamic_axes={"x": {0: "n"}},
                opset_version=17,
            )
    check(nets, onnx.load(path))


def test_a_size_compared_with_a_number_is_refused(nets: SimpleNamespace) -> None:
    """Whether the batch is 2 is not known; whether it is 0 is."""
    for number, fine in ((0, True), (2, False)):
        nodes = [
            node("Shape", ["x"], ["n"], start=0, end=1),
            node("Equal", ["n", "number"], ["is"]),
            node("Where", ["is", "one", "n"], ["first"]),
            node("Concat", ["first", "rest"], ["shape"], axis=0),
            node("Reshape", ["x", "shape"], ["y"]),
        ]
        constants = {"number": np.asarray([number]), "one": np.asarray([1]), "rest": np.asarray([3, 1])}
        made = nets.model(nodes, {"x": ("n", 3)}, ["y"], constants)
        if fine:
            check(nets, made)
        else:
            with pytest.raises(UnsupportedError, match="compares a size"):
                lower(made)
