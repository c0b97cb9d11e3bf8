"""What figures depend on: printed and stored beside them."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy
import torch
import zstandard

from featherweight.artifact import gap


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
        "threads": 1,
        "native": gap.is_native(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
    }


def cpu_name() -> str:
    """Return the processor's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")
