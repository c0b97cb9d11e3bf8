"""What ``featherweight distill`` is asked for, checked before anything is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featherweight.artifact.rounding import check_values
from featherweight.cli.distilling.options import OUT
from featherweight.distillation.call import DISTILLING
from featherweight.distillation.mixture import terms_of
from featherweight.distillation.settings import DistillationSettings
from featherweight.errors import SettingError
from featherweight.training import TrainingSettings

GRID_EPOCHS = 2
_SETTINGS = ("epochs", "learning_rate", "ema_decay")


@dataclass(frozen=True)
class Request:
    """What is asked for; see ``featherweight distill --help``.

    Attributes:
        distillation: the settings of the loss.
        training: of either run.
        baseline: whether the student is trained alone, too.
        grid: file of the cells; None: one student is distilled.

    Raises:
        SettingError: a setting is wrong, or the teacher would do nothing.
    """

    teacher: str
    student: str
    data: str
    teacher_weights: Path | None
    student_weights: Path | None
    distillation: DistillationSettings
    training: TrainingSettings
    cache: Path | None
    baseline: bool
    out: Path
    values: str
    report: Path | None
    grid: Path | None

    def __post_init__(self) -> None:
        check_values(self.values)
        if not any(self.alphas):
            raise SettingError(
                "With --alpha 0 the teacher would do nothing: give its share of the loss, above 0."
            )

    @property
    def alphas(self) -> tuple[float, ...]:
        """The share of the teacher: one number, or where it starts and ends."""
        return numbers(self.distillation.alpha)

    @property
    def temperatures(self) -> tuple[float, ...] | None:
        """The temperature, likewise; None: that of the loss."""
        given = self.distillation.temperature
        if given is not None:
            return numbers(given)
        own = {
            t for term in terms_of(self.distillation.loss) if (t := getattr(term.loss, "temperature", None))
        }
        return (float(own.pop()),) if len(own) == 1 else None

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Request:
        """Return the request of a command, by the names of its options; None: not given."""
        names = (
            "teacher",
            "student",
            "data",
            "teacher_weights",
            "student_weights",
            "cache",
            "report",
            "grid",
        )
        given = {name: asked[name] for name in _SETTINGS if asked[name] is not None}
        if asked["grid"] is not None:
            given = {"epochs": GRID_EPOCHS} | given
        return cls(
            **{name: asked[name] for name in names},
            distillation=_distillation(asked),
            training=replace(DISTILLING, seed=asked["seed"], **given),
            baseline=not asked["no_baseline"],
            out=asked["out"] or OUT,
            values=asked["values"] or "fp32",
        )


def numbers(value: object) -> tuple[float, ...]:
    """Return a number, or a pair of them, as a tuple."""
    return tuple(value) if isinstance(value, tuple) else (float(value),)  # pyright: ignore


def _distillation(asked: Mapping[str, Any]) -> DistillationSettings:
    given: dict[str, Any] = {
        name: _number_or_pair(f"--{name}", asked[name])
        for name in ("alpha", "temperature")
        if asked[name] is not None
    }
    if asked["features"]:
        given["features"] = _pairs(asked["features"])
    return DistillationSettings(loss=asked["loss"], **given)


def _number_or_pair(option: str, text: str) -> float | tuple[float, float]:
    try:
        first, *more = [float(part) for part in text.split(",")]
    except ValueError:
        first, more = 0.0, [0.0, 0.0]
    if len(more) > 1:
        raise SettingError(f"{option} is a number, or two with a comma (start,end), got {text!r}.")
    return (first, more[0]) if more else first


def _pairs(given: Sequence[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for text in given:
        parts = text.split("=")
        if len(parts) != 2 or not all(parts):
            raise SettingError(
                f"--features is teacher.path=student.path, such as layer3=stages.2, got {text!r}."
            )
        pairs.append((parts[0], parts[1]))
    return pairs
