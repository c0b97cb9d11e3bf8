"""Coverage-guided fuzzing of featherweight.artifact.read. See README.md in this folder."""

from __future__ import annotations

import json
import sys
import tempfile
import zlib
from pathlib import Path

import atheris
import zstandard

with atheris.instrument_imports(include=["featherweight"]):
    from featherweight import artifact
    from featherweight.artifact.container import build_header
    from featherweight.errors import ArtifactError

LIMIT = 1 << 20  # bytes
PATH = Path(tempfile.mkdtemp()) / "x.safetensors"


def file_of(data: bytes) -> bytes:
    """Turn fuzzer input into a file: as it is, or manifest and streams with right checksums around them."""
    if data[:1] == b"\0":
        return data[1:]
    size = int.from_bytes(data[1:3], "little")
    text, streams = data[3 : 3 + size], data[3 + size :]
    try:
        table = json.loads(text)
        table["checksum"] = zlib.crc32(streams)
        text = json.dumps(table).encode()
    except (ValueError, TypeError, RecursionError):
        pass
    frame = zstandard.compress(text)
    sizes = {"manifest": len(frame), "streams": len(streams)}
    return build_header({"featherweight": "1"}, sizes) + frame + streams


def test_one_input(data: bytes) -> None:
    """Read the input; whatever is accepted must be whole."""
    PATH.write_bytes(file_of(data))
    try:
        tensors = artifact.read(PATH, max_bytes=LIMIT).tensors
    except ArtifactError:
        return
    for array in tensors.values():
        if array.data.size != array.elements * array.width:
            raise AssertionError(f"{array} was accepted")


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
