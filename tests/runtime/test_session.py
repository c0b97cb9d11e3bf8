"""Sessions: what goes in, what comes out, and what is refused, with the reference as the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featherweight import runtime
from featherweight.errors import ArtifactError, InputError, SettingError
from featherweight.runtime import fwfile
from featherweight.runtime.activation import Activation
from featherweight.runtime.arrays import as_numpy
from featherweight.runtime.graph import Graph, Input, Operation
from featherweight.runtime.session import of_graph

RELU = {"activation": Activation("relu")}


@pytest.fixture
def one(tmp_path: Path) -> Any:
    """Relu of (any, 3)."""
    graph = Graph((Input("x", (None, 3)),), ("y",), (Operation("unary", "relu", ("x",), ("y",), RELU),))
    fwfile.write(tmp_path / "one.fw", graph)
    return runtime.load(tmp_path / "one.fw", isa="reference")


@pytest.fixture
def two() -> Any:
    """The sum and the difference of two arrays."""
    operations = (
        Operation("add", "add", ("a", "b"), ("sum",)),
        Operation("sub", "sub", ("a", "b"), ("difference",)),
    )
    inputs = (Input("a", (2, 3)), Input("b", (2, 3)))
    return of_graph(Graph(inputs, ("sum", "difference"), operations), isa="reference")


X = np.float32([[-1, 2, -3], [4, -5, 6]])


def test_one_array_in_one_out(one: Any) -> None:
    np.testing.assert_array_equal(one.run(X), np.maximum(X, 0))
    np.testing.assert_array_equal(one.run({"x": X}), np.maximum(X, 0))
    np.testing.assert_array_equal(one(X), np.maximum(X, 0))


def test_several_in_and_out(two: Any) -> None:
    for outputs in (two.run(X, 2 * X), two.run({"b": 2 * X, "a": X})):
        assert list(outputs) == ["sum", "difference"]
        np.testing.assert_array_equal(outputs["difference"], -X)


def test_torch_tensors_go_in(one: Any) -> None:
    np.testing.assert_array_equal(one.run(torch.from_numpy(X)), np.maximum(X, 0))
    np.testing.assert_array_equal(one.run(torch.from_numpy(X).requires_grad_()), np.maximum(X, 0))


def test_tensors_and_arrays_are_not_copied() -> None:
    tensor = torch.ones(2, 3)
    assert as_numpy(tensor, "x").ctypes.data == tensor.data_ptr()
    assert as_numpy(X, "x") is X
    turned = as_numpy(torch.ones(2, 3).T, "x")
    assert turned.shape == (3, 2)
    assert turned.flags.c_contiguous


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((X.astype(np.float64),), r"expected float32, got float64. Convert it"),
        ((X[:, :2],), r"expected shape \(any, 3\), got \(2, 2\)"),
        ((X[0],), r"got \(3,\)"),
        ((X[:0],), r"got \(0, 3\)"),
        ((X, X), "takes 1 inputs, .'x'.; got 2"),
        ((), "got 0"),
        (({"z": X},), r"missing \['x'\], unknown \['z'\]"),
        ((object(),), "expected an array of numbers, got object"),
    ],
)
def test_what_does_not_fit_is_told(one: Any, given: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        one.run(*given)


def test_a_tensor_of_another_device(one: Any) -> None:
    with pytest.raises(InputError, match="moved to the CPU"):
        one.run(torch.ones(2, 3, device="meta"))


def test_profile_is_a_table(one: Any) -> None:
    profile = one.profile(repeats=3)
    assert profile.repeats == 3
    assert profile.milliseconds == sum(row.milliseconds for row in profile.rows) > 0
    assert "reference" in str(profile)
    assert "ms" in str(profile)
    with pytest.raises(SettingError, match="repeats"):
        one.profile(repeats=0)


def test_repr(one: Any) -> None:
    assert repr(one) == "Session(x ('any', 3) -> y; reference, 1 thread(s))"


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        runtime.load(tmp_path / "none.fw")
    (tmp_path / "broken.fw").write_bytes(b"broken")
    for isa in (None, "reference"):
        with pytest.raises(ArtifactError, match=r"broken\.fw"):
            runtime.load(tmp_path / "broken.fw", isa=isa)


def test_threads_below_one(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="threads must be 1 or more, got 0"):
        runtime.load(tmp_path / "none.fw", threads=0)
