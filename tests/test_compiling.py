"""fw.compile: from a network to a session, here on the naive reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import featherweight as fw
from featherweight.errors import SettingError, UnsupportedError


class Residual(nn.Module):
    """A stem, a residual block, a squeeze-and-excite gate and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.body = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Hardswish(), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        )
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.body(x))
        return self.head((x * self.gate(x)).mean((2, 3)))


X = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def pruned() -> nn.Module:
    torch.manual_seed(0)
    model = Residual()
    fw.prune(model, sparsity=0.8)
    return model.eval()


def expected(model: nn.Module) -> np.ndarray:
    with torch.no_grad():
        return model(X).numpy()


def test_a_torch_model_becomes_a_file_that_runs(tmp_path: Path) -> None:
    model = pruned()
    session = fw.compile(model, tmp_path / "net.fw", example_inputs=X, isa="reference")
    np.testing.assert_allclose(session.run(X), expected(model), rtol=1e-4, atol=1e-5)
    again = fw.runtime.load(tmp_path / "net.fw", isa="reference")
    np.testing.assert_array_equal(again.run(X), session.run(X))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.fw"]


def test_a_file_an_array_of_bytes_and_a_model_of_onnx_are_the_same(tmp_path: Path) -> None:
    model = pruned()
    path = tmp_path / "net.onnx"
    fw.export_onnx(model, X, path)
    for source in (path, str(path), path.read_bytes()):
        session = fw.compile(source, isa="reference", example_inputs=X.numpy())
        np.testing.assert_allclose(session.run(X.numpy()), expected(model), rtol=1e-4, atol=1e-5)


def test_a_torch_model_needs_example_inputs() -> None:
    with pytest.raises(SettingError, match="example_inputs"):
        fw.compile(Residual())


class Fixed(nn.Module):
    """Holds for the batch that it was traced with."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x.reshape(2, 9, 27))


def test_a_network_for_one_batch_size(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Fixed runs with the batch size of the example inputs only"):
        session = fw.compile(Fixed(), example_inputs=X, isa="reference")
    assert session.inputs[0].shape == (2, 3, 9, 9)
    assert session.run(X).shape == (2, 9, 27)


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 1)


def test_what_the_runtime_lacks_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="CumSum"):
        fw.compile(Sorted(), tmp_path / "net.fw", example_inputs=X, isa="reference")
    assert list(tmp_path.iterdir()) == []


def test_kernels_are_measured_and_the_file_runs_anywhere(tmp_path: Path) -> None:
    model = pruned()
    session = fw.compile(model, tmp_path / "net.fw", example_inputs=X, threads=1)
    np.testing.assert_allclose(session.run(X), expected(model), rtol=1e-4, atol=1e-5)
    for isa in ("portable", "reference"):
        again = fw.runtime.load(tmp_path / "net.fw", threads=1, isa=isa)
        np.testing.assert_allclose(again.run(X), session.run(X), rtol=1e-4, atol=1e-5)
    one = session.run(X[:1])
    np.testing.assert_allclose(one, session.run(X)[:1], rtol=1e-4, atol=1e-5)
