"""Bytes by coding are bytes of files, not of formulas that flatter."""

import numpy as np

from featherweight import artifact
from featherweight.artifact import Array, coding_sizes


def tensors():
    rng = np.random.default_rng(0)
    weights = np.where(rng.random((64, 500)) < 0.1, rng.normal(size=(64, 500)), 0).astype("f4")
    shared = Array.of(weights)
    return {"a": shared, "again": shared, "norm": Array.of(rng.normal(size=64).astype("f4"))}


def by_name(sizes):
    return {(size.coding, size.values): size for size in sizes}


def test_sizes_are_exact():
    given = tensors()
    kept = int(np.count_nonzero(given["a"].bits()))
    sizes = by_name(coding_sizes(given))
    assert len(sizes) == 8
    for values, width in (("fp32", 4), ("fp16", 2)):
        assert sizes["dense", values].total_bytes == (64 * 500 + 64) * width
        assert sizes["csr32", values].index_bytes == 4 * (kept + 65)
        assert sizes["csr32", values].value_bytes == (kept + 64) * width
        assert sizes["bitmask", values].index_bytes == 64 * 500 // 8
        assert sizes["bitmask", values].value_bytes == (kept + 64) * width


def test_the_last_is_what_is_written(tmp_path):
    for values in ("fp32", "fp16"):
        report = artifact.write(tmp_path / "x", tensors(), values=values)
        size = by_name(coding_sizes(tensors()))["gap+zstd", values]
        assert (size.index_bytes, size.value_bytes) == (report.index_bytes, report.value_bytes)


def test_dense_tensors_stay_dense():
    sizes = by_name(coding_sizes({"x": Array.of(np.ones((3, 4), "f4"))}))
    assert [sizes[coding, "fp32"].total_bytes for coding in ("dense", "csr32", "bitmask")] == [48, 48, 48]
    assert sizes["csr32", "fp32"].index_bytes == 0


def test_a_scalar_has_a_size():
    assert by_name(coding_sizes({"x": Array.of(np.array(0.0, "f4"))}))["dense", "fp32"].total_bytes == 4
