"""The gap codec: round trips, and the native loop against the NumPy reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherweight.artifact import bitmask, gap
from featherweight.artifact.errors import PositionError

native = pytest.mark.skipif(gap._native is None, reason="the native module is not built")


@st.composite
def positions(draw):
    elements = draw(st.integers(0, 5000))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    density = draw(st.sampled_from([0, 0.0005, 0.004, 0.1, 0.9, 1]))
    return np.flatnonzero(rng.random(elements) < density), elements


@pytest.mark.parametrize("coding", [gap, bitmask])
@given(positions())
def test_positions_come_back(coding, case):
    expected, elements = case
    coded = coding.encode(expected, elements)
    least, most = coding.length_range(elements, expected.size)
    assert least <= coded.size <= most
    assert np.array_equal(coding.decode(coded, elements, expected.size, "x"), expected)


def test_the_bytes_are_those_of_the_specification():
    assert gap.encode(np.array([0, 1, 256, 511, 767]), 768).tolist() == [0, 0, 254, 254, 255, 0]
    assert bitmask.encode(np.array([0, 9]), 10).tolist() == [1, 2]


@native
@settings(max_examples=400)
@given(
    st.lists(st.sampled_from([0, 1, 2, 40, 254, 255]), max_size=12), st.integers(0, 900), st.integers(0, 9)
)
def test_native_equals_reference_on_any_stream(gaps, elements, nonzeros):
    stream = np.array(gaps, np.uint8)
    expected, where = gap.reference_positions(stream, elements, nonzeros)
    out = np.empty(nonzeros, np.int64)
    assert gap._native.gap_positions(stream, elements, out) == expected
    values = np.arange(1, nonzeros + 1, dtype="<u4")
    dense = np.zeros(elements, "<u4")
    assert gap._native.gap_scatter(stream, values.view("u1"), 4, dense.view("u1")) == expected
    if expected == gap.OK:
        assert np.array_equal(out, where)
        assert np.array_equal(np.flatnonzero(dense), where)
        assert np.array_equal(dense[where], values)


@native
@pytest.mark.parametrize("width", [1, 2, 4, 8])
@given(positions())
def test_native_scatter_equals_reference_at_every_width(width, case):
    where, elements = case
    values = (np.arange(where.size) % 250 + 1).astype(f"<u{width}")
    expected = np.zeros(elements, values.dtype)
    expected[where] = values
    got = np.zeros(elements, values.dtype)
    gap.scatter(gap.encode(where, elements), values, got, "x")
    assert np.array_equal(got, expected)


@native
def test_native_refuses_buffers_that_do_not_fit():
    u1 = np.zeros(4, np.uint8)
    with pytest.raises(ValueError, match="whole number of elements"):
        gap._native.gap_scatter(u1, u1, 3, u1)
    assert gap._native.gap_scatter(u1[:1], np.zeros(3, np.uint8), 3, np.zeros(3, np.uint8)) == 5
    with pytest.raises(TypeError):
        gap._native.gap_positions(u1.astype(np.int32), 4, np.zeros(4, np.int64))
    read_only = np.zeros(4, np.int64)
    read_only.flags.writeable = False
    with pytest.raises(TypeError):
        gap._native.gap_positions(u1, 4, read_only)


@native
def test_cpu_features_are_what_the_system_says():
    features = gap._native.cpu_features()
    with open("/proc/cpuinfo") as file:
        line = next((line for line in file if line.startswith(("flags", "Features"))), "")
    flags = set(line.split())
    if "sse4_2" in flags:
        assert features["sse4.2"]
        for ours in ("avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"):
            assert features[ours] == (ours in flags), ours
    assert all(isinstance(flag, bool) for flag in features.values())


@pytest.mark.parametrize("with_native", [True, False])
@pytest.mark.parametrize(
    ("gaps", "elements", "nonzeros", "words"),
    [
        ([3], 3, 1, "beyond the last element"),
        ([255, 0], 255, 1, "beyond the last element"),
        ([0, 0], 2, 1, "more positions"),
        ([0], 2, 2, "fewer positions"),
        ([0, 255], 300, 1, "escape that no value follows"),
    ],
)
def test_malformed_gaps(monkeypatch, with_native, gaps, elements, nonzeros, words):
    if not with_native:
        monkeypatch.setattr(gap, "_native", None)
    stream = np.array(gaps, np.uint8)
    with pytest.raises(PositionError, match=words):
        gap.decode(stream, elements, nonzeros, "x")
    with pytest.raises(PositionError, match=words):
        gap.scatter(stream, np.ones(nonzeros, "u4"), np.zeros(elements, "u4"), "x")


@pytest.mark.parametrize(("mask", "nonzeros"), [([3], 1), ([1], 2), ([32], 1), ([0], 1)])
def test_malformed_bit_masks(mask, nonzeros):
    with pytest.raises(PositionError, match="all of the first 5"):
        bitmask.decode(np.array(mask, np.uint8), 5, nonzeros, "x")
