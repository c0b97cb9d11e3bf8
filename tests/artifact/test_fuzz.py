"""Whatever the bytes are: a valid result or an ArtifactError. Longer runs: fuzz/fuzz_artifact.py."""

import json
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from featherweight import artifact
from featherweight.artifact import Array
from featherweight.artifact.container import build_header
from featherweight.errors import ArtifactError

LIMIT = 1 << 20


@pytest.fixture(scope="module")
def seed(tmp_path_factory):
    """A good file with every coding, as (path to write to, bytes, manifest, streams)."""
    rng = np.random.default_rng(0)
    shared = Array.of(np.arange(3))
    tensors = {
        "gap": Array.of(np.where(rng.random(700) < 0.05, 1.5, 0).astype("f4")),
        "mask": Array.of(np.where(rng.random(300) < 0.5, rng.normal(size=300), 0).astype("f2")),
        "dense": Array.of(rng.random(5) > 0.5),
        "one": shared,
        "two": shared,
    }
    path = tmp_path_factory.mktemp("fuzz") / "x.safetensors"
    artifact.write(path, tensors, metadata={"k": "v"})
    raw = path.read_bytes()
    body = raw[8 + int.from_bytes(raw[:8], "little") :]
    middle = json.loads(raw[8 : len(raw) - len(body)])["manifest"]["data_offsets"][1]
    return path, raw, zstandard.decompress(body[:middle]), body[middle:]


def read_or_refuse(path, raw):
    """Read ``raw``: True if it was accepted, and then the result is checked to be whole."""
    path.write_bytes(raw)
    try:
        contents = artifact.read(path, max_bytes=LIMIT)
    except ArtifactError:
        return False
    for array in contents.tensors.values():
        assert array.data.size == array.elements * array.width
    assert [tensor.name for tensor in artifact.inspect(path, max_bytes=LIMIT).tensors] == list(
        contents.tensors
    )
    return True


def sealed(text, streams):
    """A file of any manifest and streams, with right checksums, so that what lies behind these is reached."""
    frame = zstandard.compress(text)
    return (
        build_header({"featherweight": "1"}, {"manifest": len(frame), "streams": len(streams)})
        + frame
        + streams
    )


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_flipped_bytes(seed, data):
    path, raw, _, _ = seed
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(path, bytes(changed))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_cut_and_spliced(seed, data):
    path, raw, _, _ = seed
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(raw)), st.integers(0, len(raw)))))
    changed = raw[:start] + data.draw(st.binary(max_size=20)) + raw[end:]
    assert read_or_refuse(path, changed) <= (len(changed) == len(raw))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_streams_changed_and_sealed_again(seed, data):
    path, _, text, streams = seed
    changed = bytearray(streams)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(streams) - 1))] = data.draw(st.integers(0, 255))
    manifest = json.loads(text)
    manifest["checksum"] = zlib.crc32(changed)
    read_or_refuse(path, sealed(json.dumps(manifest).encode(), bytes(changed)))


VALUES = st.one_of(
    st.integers(-2, 800),
    st.sampled_from([2**31, 2**62, 2**63, 0.5, None, "gap", "same", "F16", "F64", [], [700]]),
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_manifest_changed_and_sealed_again(seed, data):
    path, _, text, streams = seed
    manifest = json.loads(text)
    for _ in range(data.draw(st.integers(1, 3))):
        table = manifest[data.draw(st.sampled_from(["tensors", "streams"]))]
        column = table[data.draw(st.sampled_from(sorted(table)))]
        number = data.draw(st.integers(0, len(column) - 1))
        if isinstance(column[number], list) and column[number] and data.draw(st.booleans()):
            column[number][0] = data.draw(VALUES)
        else:
            column[number] = data.draw(VALUES)
    read_or_refuse(path, sealed(json.dumps(manifest).encode(), streams))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_a_file_a_header_and_a_manifest(seed, raw):
    path, *_ = seed
    read_or_refuse(path, raw)
    read_or_refuse(path, len(raw).to_bytes(8, "little") + raw)
    assert not read_or_refuse(path, sealed(raw, b""))


def test_the_fuzzers_reach_the_good_file(seed):
    """Sabotage: were every input refused, the tests above would pass with a reader that reads nothing."""
    path, raw, text, streams = seed
    assert read_or_refuse(path, raw)
    assert read_or_refuse(path, sealed(text, streams))
