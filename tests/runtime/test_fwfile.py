"""The .fw file: what is written is read, and what is broken is refused."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from featherweight.artifact import errors
from featherweight.artifact.errors import ManifestError, TooLargeError
from featherweight.errors import ArtifactError
from featherweight.runtime import fwfile
from featherweight.runtime.graph import Constant, Graph, Input, Operation
from featherweight.runtime.graph_json import to_json


def linear(weight: np.ndarray, bias: np.ndarray | None = None, **attributes: Any) -> Graph:
    constants = {"l.weight": Constant(weight)} | ({} if bias is None else {"l.bias": Constant(bias)})
    roles = {name.removeprefix("l."): name for name in constants}
    operation = Operation("linear", "l", ("x",), ("y",), attributes, roles)
    return fwfile.with_storage(Graph((Input("x", (None, weight.shape[1])),), ("y",), (operation,), constants))


def sparse_weight(shape: tuple[int, int], density: float, seed: int = 0) -> np.ndarray:
    source = np.random.default_rng(seed)
    return (source.standard_normal(shape) * (source.random(shape) < density)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 700), st.floats(0, 1), st.integers(0, 100))
def test_there_and_back(rows: int, columns: int, density: float, seed: int) -> None:
    before = linear(sparse_weight((rows, columns), density, seed), np.ones(rows, np.float32))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.fw"
        report = fwfile.write(path, before)
        after = fwfile.read(path)
        assert path.stat().st_size == report.file_bytes == len(fwfile.to_bytes(before))
    assert to_json(after) == to_json(before)
    for name, constant in before.constants.items():
        np.testing.assert_array_equal(after.constants[name].array, constant.array)


def test_storage_is_by_zeros_or_by_kernel() -> None:
    assert linear(sparse_weight((20, 30), 0.1)).constants["l.weight"].storage == "sparse"
    assert linear(sparse_weight((20, 30), 0.8)).constants["l.weight"].storage == "dense"
    assert linear(sparse_weight((20, 30), 0.8), kernel="sparse").constants["l.weight"].storage == "sparse"
    assert linear(np.ones((2, 3), np.float32), np.zeros(2, np.float32)).constants["l.bias"].storage == "dense"


def test_any_safetensors_reader_opens_it(tmp_path: Path) -> None:
    weight = sparse_weight((8, 600), 0.02)
    fwfile.write(tmp_path / "a.fw", linear(weight, np.ones(8, np.float32)))
    tensors = safetensors.numpy.load_file(tmp_path / "a.fw")
    assert set(tensors) == {"l.weight.values", "l.weight.gaps", "l.bias"}
    np.testing.assert_array_equal(tensors["l.weight.values"], weight[weight != 0])


def test_a_sparse_file_is_small(tmp_path: Path) -> None:
    weight = sparse_weight((512, 512), 0.1)
    report = fwfile.write(tmp_path / "a.fw", linear(weight))
    assert report.nonzeros == np.count_nonzero(weight)
    assert report.elements == weight.size
    assert report.file_bytes < 5.1 * report.nonzeros + 1000


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    weight = Constant(np.ones((2, 2), np.float32), "sparse")
    operation = Operation("linear", "l", ("x",), ("y",), {}, {"weight": "w", "bias": "w.values"})
    clash = {"w": weight, "w.values": Constant(np.ones(2, np.float32))}
    with pytest.raises(ManifestError, match=r"'w\.values'"):
        fwfile.write(tmp_path / "a.fw", Graph((Input("x", (1, 2)),), ("y",), (operation,), clash))
    assert list(tmp_path.iterdir()) == []


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def graph_in(header: dict[str, Any]) -> dict[str, Any]:
    return json.loads(header["__metadata__"]["featherweight.graph"])


def good() -> bytes:
    return fwfile.to_bytes(linear(sparse_weight((6, 90), 0.2), np.ones(6, np.float32)))


def broken_metadata(key: str, value: str | None) -> bytes:
    header, body = parts(good())
    if value is None:
        del header["__metadata__"][key]
    else:
        header["__metadata__"][key] = value
    return joined(header, body)


def broken_graph(**changes: Any) -> bytes:
    header, body = parts(good())
    header["__metadata__"]["featherweight.graph"] = json.dumps(graph_in(header) | changes)
    return joined(header, body)


def broken_constant(**changes: Any) -> bytes:
    header, _ = parts(good())
    constants = graph_in(header)["constants"]
    constants["l.weight"] |= changes
    return broken_graph(constants=constants)


def broken_gaps(gaps: bytes) -> bytes:
    header, body = parts(good())
    begin, end = header["l.weight.gaps"]["data_offsets"]
    return joined(header, body[:begin] + gaps[: end - begin].ljust(end - begin, gaps[-1:]) + body[end:])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", errors.TruncatedError),
        (good()[:100], errors.TruncatedError),
        (good()[:-3], errors.TruncatedError),
        (good() + b"x", errors.OverlapError),
        (broken_metadata("format", "other"), errors.HeaderError),
        (broken_metadata("format", None), errors.HeaderError),
        (broken_metadata("version", "2"), errors.VersionError),
        (broken_metadata("featherweight.graph", "{"), ManifestError),
        (broken_metadata("featherweight.graph", "[" * 10000), ManifestError),
        (broken_graph(version=7), ManifestError),
        (broken_graph(operations=[]), ManifestError),
        (broken_graph(constants={}), ManifestError),
        (broken_constant(shape=[6, 89]), ArtifactError),
        (broken_constant(shape=[2**31, 2**31]), errors.SizeMismatchError),
        (broken_constant(shape=[2**20, 2**20]), TooLargeError),
        (broken_constant(storage="dense"), ManifestError),
        (broken_gaps(b"\xff"), errors.PositionError),
        (broken_gaps(b"\xfe"), errors.PositionError),
    ],
)
def test_broken_files(tmp_path: Path, data: bytes, error: type[ArtifactError]) -> None:
    path = tmp_path / "broken.fw"
    path.write_bytes(data)
    with pytest.raises(error, match=r"broken\.fw"):
        fwfile.read(path)


def test_a_flipped_bit_is_refused_or_harmless(tmp_path: Path) -> None:
    data, path = good(), tmp_path / "flipped.fw"
    source = np.random.default_rng(0)
    for _ in range(300):
        flipped = bytearray(data)
        flipped[source.integers(len(data))] ^= 1 << source.integers(8)
        path.write_bytes(bytes(flipped))
        try:
            assert isinstance(fwfile.read(path), Graph)
        except ArtifactError:
            continue


def test_a_file_of_save_is_told_apart(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": np.ones(3, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(ArtifactError, match=r"featherweight\.load"):
        fwfile.read(tmp_path / "a.safetensors")
