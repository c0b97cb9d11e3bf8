"""In which precision a run multiplies.

bfloat16 pays only where the processor multiplies it; elsewhere it is emulated and slower than float32.
Outputs are always converted back to float32 before the loss.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from featherweight.core.trace import unfused
from featherweight.errors import SettingError

_NATIVE_FLAGS = frozenset(
    {"avx512_bf16", "amx_bf16", "bf16"}
)  # as /proc/cpuinfo spells them; the last is ARM's


def choose_precision(asked: str, launched: str, device: torch.device) -> str:
    """Return "fp32" or "bf16".

    Args:
        asked: ``TrainingSettings.precision``; anything but "auto" decides.
        launched: what Accelerate was launched with ("no" where nothing was said).
        device: where the run computes.

    Raises:
        SettingError: the launcher asked for a precision that the loop does not have.
    """
    if asked != "auto":
        return asked
    if launched not in ("no", "bf16"):
        raise SettingError(
            f"Accelerate was set to mixed precision {launched!r}; this loop has fp32 and bf16. Launch with "
            f"--mixed_precision bf16, or set TrainingSettings(precision='bf16' or 'fp32')."
        )
    return "bf16" if launched == "bf16" or has_native_bf16(device) else "fp32"


def has_native_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and not _NATIVE_FLAGS.isdisjoint(_cpu_flags())


def _cpu_flags() -> frozenset[str]:
    """Names of the CPU's features: from the native module, or else from /proc/cpuinfo."""
    try:
        features: dict[str, bool] = importlib.import_module("featherweight._native").cpu_features()
        known = frozenset(name for name, present in features.items() if present)
    except ImportError:
        known = frozenset[str]()
    return known | _proc_flags(Path("/proc/cpuinfo"))


def _proc_flags(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    fields = (line.partition(":") for line in lines)
    return frozenset(
        flag for key, _, value in fields if key.strip() in ("flags", "Features") for flag in value.split()
    )


@contextmanager
def autocast(precision: str, device: torch.device) -> Generator[None]:
    """Have a forward pass run in ``precision``.

    On CPUs the fast path of torch's encoders does not look at autocast, and fails on what it rounded.
    """
    rounds = precision == "bf16"
    attention = unfused() if rounds and device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=rounds), attention:
        yield
