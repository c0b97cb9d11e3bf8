"""What ``benchmarks.runtime.cost`` measures in a fresh process; prints one line of JSON.

python -m benchmarks.runtime._fresh load ENGINE FILE THREADS SHAPE
python -m benchmarks.runtime._fresh compile FILE.onnx FILE.fw THREADS tuned|untuned
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

PEERS = Path(__file__).parents[2] / "build" / "peers"
LIBRARIES = {
    "featherweight": ("featherweight.runtime", "featherweight.runtime.native"),
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "torch": ("torch", "torch.export"),
}
RUNS = 3


def load(engine: str, file: str, threads: str, shape: str) -> dict[str, float]:
    """Return milliseconds and megabytes of an engine that is imported, opens a file and runs it."""
    import numpy as np

    from featherweight.engines import engines

    image = np.random.default_rng(0).standard_normal([int(size) for size in shape.split("x")], np.float32)
    begin = perf_counter()
    for name in LIBRARIES[engine]:
        importlib.import_module(name)
    imported = perf_counter()
    before = _megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak counts anew
    started = perf_counter()
    network = engines[engine].load(Path(file), int(threads))
    loaded = perf_counter()
    network.run([image])
    ran = perf_counter()
    for _ in range(RUNS - 1):
        network.run([image])
    return {
        "import_ms": 1e3 * (imported - begin),
        "load_ms": 1e3 * (loaded - started),
        "first_run_ms": 1e3 * (ran - loaded),
        "ready_ms": 1e3 * (ran - started),
        "imports_mb": before,
        "memory_mb": _megabytes("VmRSS") - before,
        "peak_mb": _megabytes("VmHWM") - before,
    }


def compile(onnx: str, out: str, threads: str, tuned: str) -> dict[str, float]:
    """Return the seconds that a network takes to compile, from the ONNX file to ours."""
    import featherweight as fw

    start = perf_counter()
    fw.compile(onnx, out, threads=int(threads), tune=tuned == "tuned")
    return {"seconds": perf_counter() - start}


def _megabytes(name: str) -> float:
    """Return what the system says of this process: VmRSS is resident, VmHWM was the most of it."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return float(line.split()[1]) * 1024 / 1e6


def main(what: str, *words: str) -> None:
    """Measure and print."""
    sys.path.append(str(PEERS))
    measured: dict[str, Any] = {"load": load, "compile": compile}[what](*words)
    print(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
