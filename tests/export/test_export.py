"""Export: the file computes what the model does, the model stays as it was, and a failure leaves no file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import featherweight as fw
from featherweight.errors import OnnxError, SettingError
from featherweight.export import parity
from featherweight.export.translations import in_order
from featherweight.structured.graph_module import RewrittenModule


class Small(nn.Module):
    """A convolution, a batch norm with statistics of its own, dropout and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 4)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(torch.relu(self.norm(self.conv(x))).mean((2, 3))))


class Written(nn.Module):
    """Sizes stand in its forward, so that a cut gives a rewritten graph."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.max_pool2d(self.norm(self.conv(x)), 2).view(-1, 8 * 16))


class Pair(nn.Module):
    """Two inputs by keyword, two outputs in a dict."""

    def forward(self, a: Tensor, *, scale: Tensor) -> dict[str, Tensor]:
        return {"product": a * scale, "sum": a + scale}


X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def by_onnxruntime(path: Path, *arrays: np.ndarray) -> list[Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {entry.name: a for entry, a in zip(session.get_inputs(), arrays, strict=True)})


def test_the_file_computes_what_the_model_does(tmp_path: Path) -> None:
    model = Small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = fw.export_onnx(model, X, tmp_path / "small.onnx")
    assert report.difference < 1e-5
    assert report.dynamic_batch
    assert report.file_bytes == (tmp_path / "small.onnx").stat().st_size
    assert model.training
    assert model.drop.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    images = torch.randn(5, 3, 8, 8)
    (got,) = by_onnxruntime(tmp_path / "small.onnx", images.numpy())
    np.testing.assert_allclose(got, model.eval()(images).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_fixed_batch(tmp_path: Path) -> None:
    report = fw.export_onnx(Small(), X, tmp_path / "small.onnx", dynamic_batch=False, opset=18)
    assert (report.dynamic_batch, report.opset) == (False, 18)
    shape = onnx.load(tmp_path / "small.onnx").graph.input[0].type.tensor_type.shape
    assert [dim.dim_value for dim in shape.dim] == [1, 3, 8, 8]


def test_a_rewritten_graph_exports(tmp_path: Path) -> None:
    cut, _ = fw.prune_structured(Written(), X, keep=0.5)
    assert isinstance(cut, RewrittenModule)
    cut.train()
    fw.export_onnx(cut, X, tmp_path / "cut.onnx")
    assert cut.training
    (got,) = by_onnxruntime(tmp_path / "cut.onnx", X.numpy())
    np.testing.assert_allclose(got, cut.eval()(X).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_inputs_by_name_and_several_outputs(tmp_path: Path) -> None:
    example = {"a": torch.randn(2, 3), "scale": torch.randn(2, 3)}
    fw.export_onnx(Pair(), example, tmp_path / "pair.onnx")
    product, total = by_onnxruntime(tmp_path / "pair.onnx", *(value.numpy() for value in example.values()))
    np.testing.assert_allclose(product, example["a"] * example["scale"])
    np.testing.assert_allclose(total, example["a"] + example["scale"])


def test_no_path_of_this_machine_is_in_the_file(tmp_path: Path) -> None:
    fw.export_onnx(Small(), X, tmp_path / "small.onnx")
    assert str(Path(__file__).parent).encode() not in (tmp_path / "small.onnx").read_bytes()


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fw.export_onnx(Small(), X, tmp_path / "small.onnx")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.onnx").write_bytes(b"before")
    honest = parity.run

    def wrong(proto: Any, inputs: list[Any]) -> list[Any]:
        return [output + 0.01 for output in honest(proto, inputs)]

    monkeypatch.setattr(parity, "run", wrong)
    with pytest.raises(OnnxError, match="Nothing was written"):
        fw.export_onnx(Small(), X, tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").read_bytes() == b"before"


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def test_what_torch_cannot_export_is_told(tmp_path: Path) -> None:
    model = Branches().train()
    with pytest.raises(OnnxError, match=r"torch\.onnx cannot export Branches"):
        fw.export_onnx(model, X, tmp_path / "branches.onnx")
    assert list(tmp_path.iterdir()) == []
    assert model.training


def test_the_reason_is_told_and_not_how_to_report_it(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match=r"RuntimeError: .* to have 4 channels, but got 3") as caught:
        fw.export_onnx(nn.Conv2d(4, 2, 1), X, tmp_path / "conv.onnx")
    assert "step 1/3" not in str(caught.value)


class Differ(nn.Module):
    """Takes any number of maps."""

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.relu(maps[0]) - maps[1]


def test_the_batch_is_free_of_any_number_of_inputs(tmp_path: Path) -> None:
    report = fw.export_onnx(Differ(), (X, 2 * X), tmp_path / "maps.onnx")
    assert report.dynamic_batch
    session = onnxruntime.InferenceSession(tmp_path / "maps.onnx")
    inputs = {
        value.name: array for value, array in zip(session.get_inputs(), (X[:1], 2 * X[:1]), strict=True)
    }
    (got,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    np.testing.assert_allclose(np.asarray(got), (torch.relu(X[:1]) - 2 * X[:1]).numpy(), rtol=1e-5, atol=1e-6)


def test_settings_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="tolerance"):
        fw.export_onnx(Small(), X, tmp_path / "a.onnx", tolerance=0)
    with pytest.raises(SettingError, match="dynamic_batch=False"):
        fw.export_onnx(Pair(), (torch.ones(2, 3), torch.ones(1, 3)), tmp_path / "a.onnx")


def test_a_difference_of_what_is_not_finite_counts() -> None:
    model = nn.Identity()
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Sqrt", ["x"], ["y"])],
            "test",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=9,
    )
    assert parity.difference(model, proto, ((torch.tensor([1.0, 0.0]),), {})) == 0
    assert parity.difference(model, proto, ((torch.tensor([-1.0, 0.0]),), {})) == float("inf")


def test_without_onnxruntime_onnx_itself_compares(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "import torch, featherweight as fw\n"
        f"report = fw.export_onnx(torch.nn.Linear(3, 2), torch.ones(2, 3), {str(tmp_path / 'a.onnx')!r})\n"
        "assert report.difference < 1e-5"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "a.onnx").exists()


class ChannelsLast(nn.Module):
    """torch pools a channels-last picture by way of as_strided."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 6)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.mix(x).permute(0, 3, 1, 2)).flatten(1)


def test_pooling_of_channels_last_is_no_gather(tmp_path: Path) -> None:
    fw.export_onnx(ChannelsLast(), torch.randn(1, 5, 5, 4), tmp_path / "last.onnx")
    operators = {node.op_type for node in onnx.load(tmp_path / "last.onnx").graph.node}
    assert not operators & {"Gather", "Range"}


@pytest.mark.parametrize(
    ("size", "pooled"),
    [((9, 11), 1), ((2, 2), (7, 7)), ((9, 8), (3, 2)), ((10, 7), (3, None)), ((14, 14), 7), ((7, 13), 5)],
)
def test_adaptive_pools_are_windows_or_products(tmp_path: Path, size: tuple[int, int], pooled: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(pooled))
    fw.export_onnx(model, torch.randn(2, 3, *size), tmp_path / "net.onnx")  # which compares
    operators = {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    assert not operators & {"Gather", "GatherND", "GatherElements"}


@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [
        (["n", 6, 1, 1], [6, 1, 6, 6], True),
        ([2, 3, 4], [12, 4, 1], True),
        ([2, 3, 4], [12, 1, 3], False),
        (["n", 6, 1, 1], ["m", 1, 6, 6], False),
        ([3, "n"], [4, 1], False),
    ],
)
def test_strides_in_order(size: list[Any], stride: list[Any], expected: bool) -> None:
    assert in_order(size, stride) is expected
