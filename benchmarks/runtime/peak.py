"""What a processor can do at most in fp32: independent multiply-adds in registers, on all threads at once.

The loop is that of the benchmark of kernels, ``native/kernels/bench/peak.h``; needs a C++ compiler.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

NATIVE = Path(__file__).parents[2] / "native"
LANES = {"avx512": 16, "avx2": 8}

PROGRAM = """
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>
#include "kernels/bench/peak.h"

int main(int, char** words) {
  const int lanes = std::atoi(words[1]);
  std::vector<double> rates(static_cast<std::size_t>(std::atoi(words[2])));
  std::vector<std::thread> threads;
  for (double& rate : rates)
    threads.emplace_back([&rate, lanes] { rate = featherweight::bench::peak(lanes); });
  for (std::thread& thread : threads) thread.join();
  double sum = 0.0;
  for (double rate : rates) sum += rate;
  std::printf("%.3f", sum);
}
"""


def peak_gflops(isa: str, threads: int) -> float | None:
    """Return GFLOP/s of all threads together; None where the loop is not written for the instruction set."""
    if isa not in LANES:
        return None
    ran = subprocess.run(
        [_program(), str(LANES[isa]), str(threads)], check=True, capture_output=True, text=True
    )
    return float(ran.stdout)


@cache
def _program() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="featherweight-peak-"))
    atexit.register(shutil.rmtree, folder)
    (folder / "peak.cc").write_text(PROGRAM)
    words = [
        os.environ.get("CXX", "c++"),
        "-O2",
        "-std=c++17",
        f"-I{NATIVE}",
        "peak.cc",
        "-o",
        "peak",
        "-pthread",
    ]
    subprocess.run(words, check=True, cwd=folder)
    return folder / "peak"
