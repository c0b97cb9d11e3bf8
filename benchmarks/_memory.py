"""Seconds of a piece of work, and the most memory that it held beyond what was resident before."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def measured(work: Callable[[], Result]) -> tuple[Result, dict[str, float]]:
    """Return what ``work`` returns, and its seconds and peak in megabytes (10^6 bytes).

    Seconds are those of the clock, and those of processors: on one thread the same, where nothing else runs.
    The peak is what the system counts for this process (VmHWM, reset before), less what is resident before:
    to be trusted in a fresh process alone, where little was freed that could be used again.
    """
    gc.collect()
    _give_back()
    before = megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts anew
    started, used = time.perf_counter(), time.process_time()
    result = work()
    return result, {
        "seconds_pruning": time.perf_counter() - started,
        "processor_seconds": time.process_time() - used,
        "peak_mb": megabytes("VmHWM") - before,
    }


def megabytes(name: str) -> float:
    """Return what the system says of this process: VmRSS is resident, VmHWM was the most of it."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return float(line.split()[1]) * 1024 / 1e6


def _give_back() -> None:
    """Let the allocator give freed memory back, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
