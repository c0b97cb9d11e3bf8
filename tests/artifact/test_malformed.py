"""Every way of being malformed has its own error, raised before memory is taken for what is claimed."""

import json
import os
import pickle
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard

from featherweight import artifact
from featherweight.artifact import Array, errors
from featherweight.artifact.container import build_header
from featherweight.artifact.validate import MAX_MANIFEST
from featherweight.errors import ArtifactError, SettingError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


def tensors():
    rng = np.random.default_rng(0)
    weights = np.where(rng.random((40, 50)) < 0.1, rng.normal(size=(40, 50)), 0).astype("f4")
    half = np.where(rng.random(800) < 0.5, rng.normal(size=800), 0).astype("f4")
    shared = Array.of(np.arange(3))
    return {
        "gap": Array.of(weights),
        "mask": Array.of(half),
        "dense": Array.of(rng.normal(size=9)),
        "flag": Array.of(np.array([True, False, True])),
        "one": shared,
        "two": shared,
    }


def take_apart(path):
    """Return (manifest as a dict, bytes of the streams) of a good file."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    body = raw[8 + length :]
    middle = header["manifest"]["data_offsets"][1]
    return json.loads(zstandard.decompress(body[:middle])), body[middle:]


def put_together(path, manifest, streams, *, metadata=None, frame=None):
    """Write the parts back, with a right checksum unless that is what was made wrong."""
    if isinstance(manifest, dict) and manifest.get("checksum", -1) >= 0:
        manifest["checksum"] = zlib.crc32(streams)
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    frame = zstandard.compress(text) if frame is None else frame
    header = build_header(
        {"featherweight": "1"} if metadata is None else metadata,
        {"manifest": len(frame), "streams": len(streams)},
    )
    path.write_bytes(header + frame + streams)


def plain(path, table, body=b"", *, length=None):
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + body)


def refused(path, error, words, **kwargs):
    """Both ways of reading raise exactly ``error``, and take little memory before."""
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match=words) as caught:
            artifact.read(path, **kwargs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(caught.value) is error
    assert peak < 4_000_000 + 4 * os.path.getsize(path)


# --- not a file of this kind


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle(path, protocol):
    path.write_bytes(pickle.dumps({"w": [1.0] * 20}, protocol=protocol))
    refused(path, errors.PickleRefusedError, "Pickles are never loaded")


def test_a_torch_archive(path):
    path.write_bytes(b"PK\x03\x04" + b"\0" * 100)
    refused(path, errors.PickleRefusedError, "Pickles are never loaded")


def test_something_else(path):
    path.write_bytes(b"<html> this is a web page")
    refused(path, errors.NotSafetensorsError, "not a safetensors file")


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_too_short(path, content):
    path.write_bytes(content)
    refused(path, errors.TruncatedError, "8 and more")


def test_a_missing_file_and_a_folder(path, tmp_path):
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifact.read(path)
    with pytest.raises(errors.NotSafetensorsError, match="a folder, pipe or device"):
        artifact.read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_does_not_hang(path):
    os.mkfifo(path)
    with pytest.raises(errors.NotSafetensorsError, match="pipe"):
        artifact.read(path)


# --- the safetensors header

ROW = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        (b'{"a": }', errors.HeaderError, "not valid JSON"),
        (b"[]", errors.HeaderError, "must begin with"),
        (b" {}", errors.HeaderError, "must begin with"),
        (b'{"a":{},"a":{}}', errors.HeaderError, "stands twice"),
        (b'{"\xff":{}}', errors.HeaderError, "not valid JSON"),
        (b'{"\\ud800":1}', errors.HeaderError, "not valid JSON"),
        (b'{"a":' + b"[" * 100_000, errors.HeaderError, "not valid JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", errors.HeaderError, "not valid JSON"),
        ({"__metadata__": {"a": 1}}, errors.HeaderError, "strings by name"),
        ({"__metadata__": ["a"]}, errors.HeaderError, "strings by name"),
        ({"a": 3}, errors.HeaderError, "'a': must have dtype"),
        ({"a": {**ROW, "more": 1}}, errors.HeaderError, "and nothing else"),
        ({"a": {**ROW, "shape": 4}}, errors.HeaderError, "list of whole numbers"),
        ({"a": {**ROW, "shape": [4.0]}}, errors.HeaderError, "whole number"),
        ({"a": {**ROW, "shape": [True]}}, errors.HeaderError, "whole number"),
        ({"a": {**ROW, "shape": [-4]}}, errors.HeaderError, "whole number"),
        ({"a": {**ROW, "shape": [2**64]}}, errors.HeaderError, "whole number"),
        ({"a": {**ROW, "dtype": "Q8"}}, errors.DtypeError, "'Q8' is unknown"),
        ({"a": {**ROW, "dtype": ["U8"]}}, errors.DtypeError, "is unknown"),
        ({"a": {**ROW, "shape": [2**62, 2**62, 0]}}, errors.SizeMismatchError, "overflows"),
        ({"a": {**ROW, "shape": [1] * 33}}, errors.SizeMismatchError, "at most 32"),
        ({"a": {**ROW, "shape": [5]}}, errors.SizeMismatchError, "takes 5 bytes"),
        ({"a": {**ROW, "data_offsets": [4, 0]}}, errors.OverlapError, "begin <= end"),
        ({"a": {**ROW, "data_offsets": [0, 2, 4]}}, errors.OverlapError, "begin, end"),
        ({"a": ROW, "b": {**ROW, "data_offsets": [3, 7]}}, errors.OverlapError, "'b' begins at byte 3"),
        ({"a": ROW, "b": {**ROW, "data_offsets": [5, 9]}}, errors.OverlapError, "'b' begins at byte 5"),
        ({"a": {**ROW, "data_offsets": [1, 5]}}, errors.OverlapError, "begins at byte 1"),
        (
            {"a": ROW, "b": {**ROW, "shape": [8], "data_offsets": [4, 12]}},
            errors.TruncatedError,
            "12 bytes, only 9",
        ),
        ({"a": ROW}, errors.OverlapError, "5 bytes follow the last"),
    ],
)
def test_a_bad_header(path, table, error, words):
    plain(path, table, b"\0" * 9)
    refused(path, error, words)


def test_a_header_longer_than_the_file(path):
    plain(path, b"{}", length=50_000_000)
    refused(path, errors.TruncatedError, "the header should have 50000000 bytes")


def test_a_bool_that_is_neither(path):
    plain(path, {"a": {**ROW, "dtype": "BOOL"}}, b"\0\1\2\0")
    refused(path, errors.ContentError, "'a': a BOOL must be 0 or 1, got 2")


# --- the compact file


def test_every_truncation_and_any_addition(path):
    artifact.write(path, tensors())
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 5), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(errors.TruncatedError):
            artifact.read(path)
    path.write_bytes(whole + b"\0")
    refused(path, errors.OverlapError, "1 bytes follow the last tensor")


def test_a_flipped_bit_in_the_streams(path):
    artifact.write(path, tensors())
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 16
    path.write_bytes(whole)
    refused(path, errors.ChecksumError, "damaged")


def test_a_flipped_bit_in_the_manifest(path):
    artifact.write(path, tensors())
    raw = path.read_bytes()
    whole = bytearray(raw)
    whole[8 + int.from_bytes(raw[:8], "little") + 60] ^= 16
    path.write_bytes(whole)
    refused(path, errors.FrameError, "zstd frame is damaged")


def test_another_version(path):
    artifact.write(path, tensors())
    put_together(path, *take_apart(path), metadata={"featherweight": "2"})
    refused(path, errors.VersionError, "'2'; this library reads '1'")


def test_other_tensors_than_two(path):
    plain(path, {"__metadata__": {"featherweight": "1"}, "a": ROW}, b"\0" * 4)
    refused(path, errors.HeaderError, r"got \['a'\]")


def test_a_good_file_survives_being_put_together(path):
    artifact.write(path, tensors())
    put_together(path, *take_apart(path))
    got = artifact.read(path).tensors
    assert all(np.array_equal(got[name].data, array.data) for name, array in tensors().items())


def change(column, number, value):
    def edit(manifest):
        manifest["tensors"][column][number] = value

    return edit


def change_stream(column, number, value):
    def edit(manifest):
        manifest["streams"][column][number] = value

    return edit


def drop(*keys):
    def edit(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        del manifest[keys[-1]]

    return edit


def grow(manifest):
    """Claim a terabyte, consistently, for a tensor of zeros."""
    manifest["tensors"]["shape"][0] = [1 << 38]


NAMES = {"gap": 0, "mask": 1, "dense": 2, "flag": 3, "one": 4, "two": 5}


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (drop("checksum"), errors.ManifestError, "expected an object with"),
        (drop("tensors", "shape"), errors.ManifestError, "expected an object with"),
        (drop("tensors", "name", 0), errors.ManifestError, "columns differ in length"),
        (lambda m: m.update(tensors=[]), errors.ManifestError, "got list"),
        (lambda m: m.update(checksum=-1), errors.ManifestError, "whole number"),
        (lambda m: m["tensors"].update(name="gap"), errors.ManifestError, "list of strings"),
        (lambda m: m["tensors"].update(shape=3), errors.ManifestError, "list of lists"),
        (change("name", 1, "gap"), errors.ManifestError, "name stands twice"),
        (change("name", 1, 7), errors.ManifestError, "list of strings"),
        (change("dtype", 0, "F33"), errors.DtypeError, "'gap': dtype 'F33'"),
        (change("stored", 0, "F33"), errors.DtypeError, "'gap': dtype 'F33'"),
        (change("stored", 0, "I8"), errors.DtypeError, "cannot be stored as I8"),
        (change("stored", 3, "F16"), errors.DtypeError, "BOOL values cannot be stored as F16"),
        (change("shape", 0, [1] * 33), errors.SizeMismatchError, "at most 32"),
        (change("shape", 0, [2**40, 2**40]), errors.SizeMismatchError, "overflows"),
        (change("shape", 0, [40.0, 50]), errors.ManifestError, "whole number"),
        (change("shape", 0, [100]), errors.SizeMismatchError, "nonzeros among 100"),
        (change("shape", 2, [10]), errors.SizeMismatchError, "elements, its tensors take"),
        (grow, errors.TooLargeError, "give max_bytes="),
        (change("coding", 0, "csr"), errors.ManifestError, "coding 'csr' is unknown"),
        (change("coding", 0, "dense"), errors.SizeMismatchError, "bytes of dense positions"),
        (change("coding", 0, "bitmask"), errors.SizeMismatchError, "expected 250 to 250"),
        (change("nonzeros", 0, 2), errors.SizeMismatchError, "expected 2 to 9"),
        (change("nonzeros", 1, 2), errors.SizeMismatchError, "elements, its tensors take"),
        (change("nonzeros", 2, 8), errors.SizeMismatchError, "8 nonzeros claimed, 9 found"),
        (change("index_bytes", 0, 5), errors.SizeMismatchError, "5 bytes of gap positions"),
        (change("index", 0, 99), errors.ManifestError, "no stream 99 of 1 bytes"),
        (change("values", 0, 99), errors.ManifestError, "no stream 99 of 4 bytes"),
        (change("values", 5, 5), errors.ManifestError, "must be earlier"),
        (change("values", 5, 99), errors.ManifestError, "must be earlier"),
        (change("values", 5, 0), errors.SizeMismatchError, "not of its dtype and shape"),
        (change("index_bytes", 5, 1), errors.ManifestError, "cannot have positions"),
        (change_stream("width", 0, 3), errors.ManifestError, "width must be one of"),
        (change_stream("elements", 0, 2**30), errors.SizeMismatchError, "frames for 1073741824 elements"),
        (change_stream("frames", 0, []), errors.SizeMismatchError, "0 frames"),
        (change_stream("frames", 0, [2**50]), errors.SizeMismatchError, "the manifest's frames take"),
        (change_stream("frames", 0, [-1]), errors.ManifestError, "whole number"),
    ],
)
def test_a_bad_manifest(path, edit, error, words):
    artifact.write(path, tensors())
    manifest, streams = take_apart(path)
    edit(manifest)
    put_together(path, manifest, streams)
    refused(path, error, words)


def test_swapped_streams(path):
    """Two streams of one width and length, swapped: positions are then out of range."""
    artifact.write(path, tensors())
    manifest, streams = take_apart(path)
    start = sum(sum(frames) for frames in manifest["streams"]["frames"][: manifest["tensors"]["index"][0]])
    size = manifest["streams"]["frames"][manifest["tensors"]["index"][0]][0]
    gaps = manifest["tensors"]["index_bytes"][0]
    manifest["streams"]["frames"][manifest["tensors"]["index"][0]] = [gaps]
    for byte, words in ((254, "beyond the last element"), (255, "beyond the last element")):
        put_together(path, manifest, streams[:start] + bytes([byte]) * gaps + streams[start + size :])
        refused(path, errors.PositionError, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "not valid JSON"),
        (b"[1]", "must be a JSON object"),
        (b"NaN", "NaN is not JSON"),
        (b'{"a":1,"a":2}', "twice"),
    ],
)
def test_a_manifest_that_is_not_json(path, text, words):
    put_together(path, text, b"")
    refused(path, errors.ManifestError, words)


def lying_frame(claimed, content=b"x" * 100):
    """A zstd frame that says ``claimed`` bytes in its header and holds ``content``."""
    parameters = zstandard.ZstdCompressionParameters(window_log=20)
    frame = bytearray(zstandard.ZstdCompressor(compression_params=parameters).compress(b"x" * (1 << 20)))
    position = frame.index((1 << 20).to_bytes(4, "little"))
    frame[position : position + 4] = claimed.to_bytes(4, "little")
    return bytes(frame)


def test_a_manifest_that_is_a_bomb(path):
    put_together(path, b"", b"", frame=zstandard.compress(b" " * (MAX_MANIFEST + 1)))
    refused(path, errors.TooLargeError, "the most is")
    put_together(path, b"", b"", frame=lying_frame(0xFFFFFFFF))
    refused(path, errors.TooLargeError, "says 4294967295 bytes")


def test_a_manifest_that_lies_about_its_size(path):
    put_together(path, b"", b"", frame=lying_frame((1 << 20) - 1))
    with pytest.raises(errors.FrameError, match="damaged"):
        artifact.read(path)


def test_a_manifest_without_a_size_or_no_frame_at_all(path):
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(b"{}")
    put_together(path, b"", b"", frame=unsized)
    refused(path, errors.FrameError, "does not state its content size")
    put_together(path, b"", b"", frame=b"not a frame at all")
    refused(path, errors.FrameError, "not a zstd frame")
    put_together(path, b"", b"", frame=zstandard.compress(b"{}") + b"more")
    refused(path, errors.FrameError, "damaged")


def stream_of(frame, elements):
    """A file of one U8 tensor whose only plane is ``frame``."""
    columns = {
        "name": ["w"],
        "dtype": ["U8"],
        "shape": [[elements]],
        "stored": ["U8"],
        "coding": ["dense"],
        "nonzeros": [elements],
        "index_bytes": [0],
        "index": [0],
        "values": [0],
    }
    streams = {"width": [1], "elements": [elements], "frames": [[len(frame)]]}
    return {"checksum": 0, "tensors": columns, "streams": streams}, frame


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (zstandard.compress(b"x" * 999), "says 999 bytes, expected 1000"),
        (zstandard.compress(b"x" * (1 << 30)), "says 1073741824 bytes, expected 1000"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000), "does not state"),
        (zstandard.compress(b"x" * 1000) + b"tail", "damaged"),
        (zstandard.compress(b"x" * 1000)[:-2], "damaged"),
        (b"", "zstd frame"),
        (b"\x50\x2a\x4d\x18" + (8).to_bytes(4, "little") + b"skipped!", "zstd frame"),
        (b"garbage", "not a zstd frame"),
    ],
)
def test_a_bad_frame(path, frame, words):
    put_together(path, *stream_of(frame, 1000))
    refused(path, errors.FrameError, words)


def test_the_three_forms_of_a_plane(path):
    for frame in (b"x", b"x" * 1000, zstandard.compress(b"x" * 1000)):
        put_together(path, *stream_of(frame, 1000))
        assert artifact.read(path).tensors["w"].data.tobytes() == b"x" * 1000


def test_limits(path):
    artifact.write(path, {"w": Array.of(np.zeros((1000, 1000), "f4"))})
    assert path.stat().st_size < 400
    assert artifact.read(path, max_bytes=4_000_000).tensors["w"].shape == (1000, 1000)
    refused(path, errors.TooLargeError, "the limit is 3999999", max_bytes=3_999_999)
    with pytest.raises(SettingError, match="0 or more"):
        artifact.read(path, max_bytes=-1)
    plain(path, {"a": ROW}, b"\0" * 4)
    refused(path, errors.TooLargeError, "4 bytes of tensors", max_bytes=3)


def test_a_file_that_shrinks_while_it_is_read(path, monkeypatch):
    artifact.write(path, {"w": Array.of(np.random.default_rng(0).random(1 << 17))})  # more than is buffered
    real = artifact.reader.read_header

    def shrink(file, where):
        header = real(file, where)
        os.truncate(path, header.body + 10)
        return header

    monkeypatch.setattr(artifact.reader, "read_header", shrink)
    with pytest.raises(errors.TruncatedError, match="could be read"):
        artifact.read(path)


def test_every_error_of_the_tree_is_named_in_its_picture_and_tested():
    here = Path(__file__)
    tests = here.read_text() + here.with_name("test_gap.py").read_text()
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, ArtifactError) and kind is not ArtifactError:
            assert f"── {name} " in errors.__doc__
            assert f"errors.{name}" in tests
