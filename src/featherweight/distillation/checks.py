"""What a Distiller refuses before it runs anything."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, cast

from torch import Tensor, nn

from featherweight.core.prunable import unwrap
from featherweight.distillation.cache import TeacherCache
from featherweight.distillation.mixture import Term
from featherweight.distillation.outputs import Parts
from featherweight.distillation.ramps import Ramp, ramp_of
from featherweight.errors import ModelError, SettingError, TrainingError
from featherweight.training.objective import describe


def teachers_of(given: Any) -> list[nn.Module]:
    """Return the teachers, of one or of a sequence; raises SettingError where it is neither, or empty."""
    if isinstance(given, nn.Module):
        return [given]
    if not isinstance(given, Sequence):
        raise SettingError(f"teacher is a network, or a sequence of networks; got {describe(given)}.")
    if not given:
        raise SettingError("teacher is a network, or a sequence of networks; got an empty one.")
    return list(cast("Sequence[nn.Module]", given))


def check_cache(given: object) -> None:
    """Raise SettingError unless it is a ``TeacherCache``, a folder or None."""
    if given is not None and not isinstance(given, TeacherCache | str | os.PathLike):
        raise SettingError(f"cache is a folder or a TeacherCache, got {given!r}.")


def check_scalar(value: object, what: str) -> None:
    """Raise TrainingError unless ``value``, which ``what`` returned, is a tensor with one entry."""
    if not isinstance(value, Tensor) or value.ndim:
        got = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else describe(value)
        raise TrainingError(f"{what} must return a scalar tensor, the mean over the batch; got {got}.")


def temperature_ramp(given: Any, terms: Sequence[Term]) -> Ramp | None:
    """Return the temperature as a ramp; raises SettingError where no loss takes one."""
    if given is None:
        return None
    if not any(term.loss.takes_temperature for term in terms):
        raise SettingError(
            f"temperature would do nothing: none of {', '.join(term.name for term in terms)} takes one."
        )
    return ramp_of("temperature", given, lambda t: 0 < t < math.inf, "a finite number above 0")


def shares_of(given: Sequence[float] | None, teachers: int) -> tuple[float, ...]:
    """Return one weight per teacher, with the sum 1; raises SettingError."""
    weights = [1.0] * teachers if given is None else list(given)
    if len(weights) != teachers or not all(0 < weight < math.inf for weight in weights):
        raise SettingError(f"teacher_weights are {teachers} finite numbers above 0, got {given!r}.")
    return tuple(weight / sum(weights) for weight in weights)


def name_of_teacher(number: int, teachers: int) -> str:
    """Return what errors call teacher ``number``."""
    return "The teacher" if teachers == 1 else f"Teacher {number + 1} of {teachers}"


def check_apart(teacher: nn.Module, student: nn.Module, name: str) -> None:
    """Raise ModelError where the teacher learns with the student, SettingError where one is no network."""
    for thing, which in ((teacher, name), (student, "The student")):
        if not isinstance(thing, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SettingError(f"{which} is a network, an nn.Module; got {describe(thing)}.")
    advice = "Give a copy: copy.deepcopy(student)."
    if unwrap(teacher) is unwrap(student):
        raise ModelError(f"{name} is the student itself. {advice}")
    theirs = {id(thing): path for path, thing in _learning(teacher)}
    shared = [theirs[id(thing)] for _, thing in _learning(student) if id(thing) in theirs]
    if shared:
        raise ModelError(
            f"{name} shares {len(shared)} parameters or modules with buffers with the student "
            f"({', '.join(shared[:3])}), and would change with it. {advice}"
        )


def _learning(network: nn.Module) -> Iterator[tuple[str, Tensor | nn.Module]]:
    """Yield parameters, and modules with buffers: a buffer alone may be a constant of many networks."""
    yield from unwrap(network).named_parameters()
    for path, module in unwrap(network).named_modules():
        if any(True for _ in module.buffers(recurse=False)):
            yield path, module


def check_labels(parts: Parts, terms: Sequence[Term], *, is_soft_only: bool, given: object) -> None:
    """Raise SettingError where labels are missing, or ``hard_loss`` is ``given`` without a use."""
    needs = [term.name for term in terms if term.loss.needs_targets]
    if needs and parts.classes is None:
        got = "none" if parts.targets is None else describe(parts.targets)
        raise SettingError(
            f"The loss {needs[0]} needs labels, class numbers, and the example has {got}: batches are "
            f"(inputs, targets), or mappings with 'labels'."
        )
    if is_soft_only and given is not None:
        raise SettingError("hard_loss with alpha=1 would do nothing: set alpha below 1.")
    if not is_soft_only and parts.targets is None:
        raise SettingError(
            "alpha is below 1, so that a part of the loss is on labels, and the example has none: set "
            "alpha=1.0, or give batches (inputs, targets), or mappings with 'labels'."
        )
