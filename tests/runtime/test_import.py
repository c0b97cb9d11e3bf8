"""What importing the runtime costs, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys

# Milliseconds beyond what numpy itself takes to import.
MOST = 100

PROGRAM = """
import sys
import numpy, numpy.random
from time import perf_counter
begin = perf_counter()
import featherweight.runtime
print(1e3 * (perf_counter() - begin))
heavy = {"torch", "onnx", "onnxscript", "onnx_ir", "onnxruntime", "rich", "google"} & set(sys.modules)
assert not heavy, heavy
"""


def test_the_runtime_is_imported_fast_and_alone() -> None:
    times: list[float] = []
    for _ in range(3):
        ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        times.append(float(ran.stdout))
    assert min(times) < MOST
