"""What a Distiller asks of a cache: whose outputs it must hold, and what of each teacher is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from featherweight.distillation.cache.manifest import Identity
from featherweight.distillation.cache.store import Folder, TeacherCache
from featherweight.distillation.lead import Lead
from featherweight.distillation.losses import View
from featherweight.distillation.teacher import Teacher
from featherweight.distillation.watch import Reading


def identity_of(teachers: Sequence[Teacher], leads: Sequence[Lead]) -> Identity:
    """Return the identity of all that ``leads`` read of ``teachers``."""
    logits = ("logits",) if _read_logits(leads) else ()
    taps = tuple(
        f"{number}: {name}"
        for number, teacher in enumerate(teachers)
        for name in (*logits, *teacher.watched.names)
    )
    fingerprints = " ".join(teacher.fingerprint for teacher in teachers)
    rounded = any(teacher.precision == "bf16" for teacher in teachers)
    return Identity(fingerprints, taps, "bf16" if rounded else "fp32")


def stored(readings: Sequence[Reading], leads: Sequence[Lead]) -> list[View]:
    """Return what a cache stores of each teacher: logits only where a loss reads them."""
    views = [reading.whole for reading in readings]
    return views if _read_logits(leads) else [replace(view, logits=None) for view in views]


def opened(cache: TeacherCache | Folder, identity: Identity) -> TeacherCache:
    """Return the cache, or that of a folder; raises DataError unless it is of ``identity``."""
    if not isinstance(cache, TeacherCache):
        return TeacherCache.open(cache, identity)
    cache.manifest.check_identity(identity, cache.folder)
    return cache


def home_of(teachers: Sequence[Teacher], device: torch.device | str | None) -> torch.device:
    """Return ``device``, or where the teachers are."""
    weights = (parameter.device for teacher in teachers for parameter in teacher.plain.parameters())
    return torch.device(device) if device is not None else next(weights, torch.device("cpu"))


def _read_logits(leads: Sequence[Lead]) -> bool:
    """Whether some loss does; each loss is taken of each teacher."""
    return any(lead.term.loss.needs_logits for lead in leads)
