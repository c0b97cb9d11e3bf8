"""Write seed files for fuzz_artifact.py into the folder given: good files, small, one of each coding."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import zstandard

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from featherweight import artifact
from featherweight.artifact import Array


def seeds() -> dict[str, dict[str, Array]]:
    """Return tensors by the name of the seed."""
    rng = np.random.default_rng(0)
    shared = Array.of(np.arange(3))
    return {
        "empty": {},
        "gap": {"w": Array.of(np.where(rng.random(900) < 0.02, 1.5, 0).astype("f4"))},
        "bitmask": {"w": Array.of(np.where(rng.random(200) < 0.5, rng.normal(size=200), 0).astype("f2"))},
        "dense": {"w": Array.of(rng.normal(size=(2, 3))), "b": Array.of(rng.random(4) < 0.5)},
        "same": {"a": shared, "b": shared},
    }


def main(folder: Path) -> None:
    """Write two seeds a file: as it is (mode 0); manifest and streams, to be sealed again (mode 1)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in seeds().items():
        path = folder / "seed.tmp"
        artifact.write(path, tensors, values="fp16")
        raw = path.read_bytes()
        path.unlink()
        body = raw[8 + int.from_bytes(raw[:8], "little") :]
        middle = json.loads(raw[8 : len(raw) - len(body)])["manifest"]["data_offsets"][1]
        text = zstandard.decompress(body[:middle])
        (folder / f"{name}-file").write_bytes(b"\0" + raw)
        (folder / f"{name}-sealed").write_bytes(
            b"\1" + len(text).to_bytes(2, "little") + text + body[middle:]
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
