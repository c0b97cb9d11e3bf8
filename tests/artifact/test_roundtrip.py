"""What is written comes back bit for bit, whatever it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from featherweight import artifact
from featherweight.artifact import Array
from featherweight.artifact.array import DTYPES
from featherweight.artifact.errors import DtypeError, ManifestError, SizeMismatchError
from featherweight.errors import SettingError


@st.composite
def arrays(draw):
    """Any bits of any dtype, at any density."""
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    shape = tuple(draw(st.lists(st.integers(0, 40), max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = int(np.prod(shape))
    raw = rng.integers(0, 2 if dtype.name == "BOOL" else 256, (n, dtype.width), dtype=np.uint8)
    raw[rng.random(n) >= draw(st.sampled_from([0.0, 0.002, 0.1, 0.3, 0.6, 0.98, 1.0]))] = 0
    return Array(dtype.name, shape, raw.reshape(-1))


def assert_same(got, expected):
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(got[name].data, array.data), name


@settings(deadline=None, max_examples=80)
@given(st.dictionaries(st.text(max_size=8), arrays(), max_size=6))
def test_any_tensors_come_back_bit_for_bit(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("roundtrip") / "x.safetensors"
    report = artifact.write(path, tensors)
    assert report.file_bytes == path.stat().st_size
    assert_same(artifact.read(path).tensors, tensors)
    info = artifact.inspect(path)
    counted = {name: int(np.count_nonzero(array.bits())) for name, array in tensors.items()}
    assert {tensor.name: tensor.nonzeros for tensor in info.tensors} == counted


@settings(deadline=None, max_examples=100)
@given(arrays(), st.sampled_from(["fp16", "bf16"]))
def test_rounding_is_to_nearest_keeps_zeros_and_nonzeros_or_does_not_happen(tmp_path_factory, array, values):
    path = tmp_path_factory.mktemp("rounding") / "x.safetensors"
    report = artifact.write(path, {"x": array}, values=values)
    got = artifact.read(path).tensors["x"]
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    if array.dtype not in ("F32", "F64") or report.unrounded:
        assert np.array_equal(got.data, array.data)
        return
    wide, narrow = array.numpy().reshape(-1), got.numpy().reshape(-1)
    assert np.array_equal(np.isnan(wide), np.isnan(narrow))
    assert np.array_equal(wide == 0, narrow == 0)
    fine = np.isfinite(wide)
    assert np.array_equal(wide[np.isinf(wide)], narrow[np.isinf(wide)])
    step, least = (2.0**-11, 2.0**-24) if values == "fp16" else (2.0**-8, 2.0**-133)
    error = np.abs(wide[fine].astype("f8") - narrow[fine].astype("f8"))
    assert np.all(error <= np.maximum(np.abs(wide[fine].astype("f8")) * step * (1 + 1e-6), least))


def test_chunks_larger_than_one_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(artifact.reader.streams, "CHUNK", 100)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(50, 60)).astype("f4") * (rng.random((50, 60)) < 0.4)
    tensors = {"w": Array.of(weights), "dense": Array.of(rng.normal(size=999))}
    artifact.write(tmp_path / "x", tensors)
    assert_same(artifact.read(tmp_path / "x").tensors, tensors)


def test_safetensors_itself_accepts_the_file(tmp_path):
    artifact.write(tmp_path / "x", {"w": Array.of(np.eye(9, dtype="f4"))}, metadata={"k": "v"})
    with safe_open(tmp_path / "x", "np") as file:
        assert set(file.keys()) == {"manifest", "streams"}
        assert file.metadata() == {"featherweight": "1", "k": "v"}
        assert file.get_tensor("streams").dtype == np.uint8


def test_one_array_under_two_names_is_written_once(tmp_path):
    shared = Array.of(np.arange(1000.0))
    report = artifact.write(tmp_path / "x", {"a": shared, "b": Array.of(np.ones(2)), "c": shared})
    assert (report.tensors, report.elements, report.dense_bytes) == (3, 1002, 8016)
    contents = artifact.read(tmp_path / "x")
    assert contents.tensors["a"] is contents.tensors["c"]
    assert [tensor.coding for tensor in artifact.inspect(tmp_path / "x").tensors] == [
        "dense",
        "dense",
        "same",
    ]


def test_codings_follow_density(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        str(density): Array.of(np.where(rng.random(5000) < density, rng.normal(size=5000), 0).astype("f4"))
        for density in (0.01, 0.1, 0.5, 1.0)
    }
    artifact.write(tmp_path / "x", tensors)
    codings = [tensor.coding for tensor in artifact.inspect(tmp_path / "x").tensors]
    assert codings == ["gap", "gap", "bitmask", "dense"]


def test_shares_of_streams_add_up_to_the_file(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {f"w{i}": Array.of(rng.normal(size=3000) * (rng.random(3000) < 0.1 * i)) for i in range(1, 6)}
    report = artifact.write(tmp_path / "x", tensors)
    info = artifact.inspect(tmp_path / "x")
    assert abs(sum(t.index_bytes for t in info.tensors) - report.index_bytes) <= 5
    assert abs(sum(t.value_bytes for t in info.tensors) - report.value_bytes) <= 5
    assert (
        report.file_bytes
        == report.manifest_bytes + report.index_bytes + report.value_bytes
        == info.file_bytes
    )


def test_negative_zeros_are_kept_and_counted(tmp_path):
    weights = np.array([0.0, -0.0, 1.0, -0.0], "f4")
    assert artifact.write(tmp_path / "x", {"w": Array.of(weights)}).negative_zeros == 2
    got = artifact.read(tmp_path / "x").tensors["w"].numpy()
    assert np.array_equal(np.signbit(got), np.signbit(weights))


def test_index_and_file_are_near_their_limits(tmp_path):
    """90% of normal weights dropped: 5% of the entropy limit for the index, 8.3x and 18x for the file."""
    rng = np.random.default_rng(0)
    tensors = {}
    for layer in range(6):
        weights = rng.normal(size=(64, 64, 9)).astype("f4")
        weights[np.abs(weights) < np.quantile(np.abs(weights), 0.9)] = 0
        tensors[f"layer{layer}.weight"] = Array.of(weights)
    sizes = {values: artifact.write(tmp_path / values, tensors, values=values) for values in ("fp32", "fp16")}
    assert sizes["fp32"].index_bytes < 1.05 * sizes["fp32"].index_limit_bytes
    assert sizes["fp32"].index_bytes > 0.99 * sizes["fp32"].index_limit_bytes
    assert sizes["fp32"].dense_bytes > 8.3 * sizes["fp32"].file_bytes
    assert sizes["fp16"].dense_bytes > 18 * sizes["fp16"].file_bytes


def test_without_compression_the_limits_are_missed(tmp_path, monkeypatch):
    """Sabotage of the test above."""
    monkeypatch.setattr(artifact.frames, "compress", bytes)
    weights = np.where(np.arange(40_000) % 10, 0, 1.0 + np.arange(40_000)).astype("f4")
    report = artifact.write(tmp_path / "x", {"w": Array.of(weights)})
    assert report.index_bytes > 1.05 * report.index_limit_bytes
    assert report.dense_bytes < 8.3 * report.file_bytes


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    array = Array.of(np.ones(1))
    with pytest.raises(SettingError):
        artifact.write(path, {"x": array}, values="int8")
    with pytest.raises(ManifestError, match="UTF-8"):
        artifact.write(path, {"\ud800": array})
    with pytest.raises(ManifestError, match="format's own"):
        artifact.write(path, {"x": array}, metadata={"featherweight": "2"})
    with pytest.raises(ManifestError, match="must be text"):
        artifact.write(path, {"x": array}, metadata={"a": 1})
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_an_array_checks_itself():
    with pytest.raises(DtypeError, match="'F33' is unknown"):
        Array("F33", (1,), np.zeros(4, np.uint8))
    with pytest.raises(SizeMismatchError, match="needs 8 contiguous uint8"):
        Array("F32", (2,), np.zeros(4, np.uint8))
    with pytest.raises(SizeMismatchError, match="at most 32 sizes"):
        Array("U8", (1,) * 33, np.zeros(1, np.uint8))
    with pytest.raises(DtypeError, match="no counterpart"):
        Array.of(np.zeros(2, "c16"))
    with pytest.raises(DtypeError, match="NumPy has no BF16"):
        Array("BF16", (1,), np.zeros(2, np.uint8)).numpy()


def test_the_report_prints_sizes_and_their_ratio(tmp_path):
    values = np.zeros(100_000, np.float32)
    values[::10] = np.random.default_rng(0).normal(size=10_000)
    report = artifact.write(tmp_path / "a.safetensors", {"w": artifact.Array.of(values)})
    ratio = 400_000 / report.file_bytes
    assert f"{report.file_bytes:,} bytes, {ratio:.1f}x fewer than the 400,000 bytes" in str(report)
    assert "90.0% of 100,000 are zero" in str(report)


@pytest.mark.parametrize("wanted", [640, 896, 1152, 1408])
def test_a_length_of_header_that_begins_like_a_pickle(tmp_path, wanted):
    """The first bytes of such a file are 0x80 and 2, 3, 4 or 5, as a pickle's are."""
    path, tensors = tmp_path / "a.safetensors", {"w": Array("F32", (1,), np.ones(4, np.uint8))}
    artifact.write(path, tensors)
    (length,) = np.fromfile(path, "<u8", 1)
    artifact.write(path, tensors, metadata={"n": "x" * (wanted - int(length) - len(',"n":""'))})
    assert path.read_bytes()[:2] == bytes([0x80, wanted // 256])
    assert_same(artifact.read(path).tensors, tensors)
