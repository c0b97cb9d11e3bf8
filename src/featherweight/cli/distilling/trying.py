"""``featherweight distill --grid``: temperatures and alphas, tried on the validation split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from featherweight.cli.distilling.agreeing import Answers
from featherweight.cli.distilling.request import Request
from featherweight.cli.distilling.subject import Subject
from featherweight.cli.distilling.training import distill_once, train_alone
from featherweight.cli.network import fingerprint
from featherweight.cli.output import remark, say, write_json
from featherweight.errors import DataError
from featherweight.profile import evaluate
from featherweight.report import GridCell, GridRecord, grid_page, write_html
from featherweight.report.words import percent

TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
ALPHAS = (0.1, 0.5, 0.9, 1.0)


def run_grid(request: Request, file: Path, json_file: Path | None) -> GridRecord:
    """Train the student alone and in each cell, and append a line each; lines that are there are not run.

    Raises:
        SettingError: the loss takes no temperature.
        DataError: a line of the file is no record.
        FeatherweightError: it cannot be done as asked.
    """
    replace(request.distillation, temperature=TEMPERATURES[0])  # refused before the first run
    subject = Subject.of(request)
    identity = _identity(subject, request)
    found = _found(file, identity)
    cells = [(None, 0.0), *((t, alpha) for t in TEMPERATURES for alpha in ALPHAS)]
    for number, (temperature, alpha) in enumerate(cells, start=1):
        if (temperature, alpha) not in found:
            found[temperature, alpha] = _tried(subject, request, temperature, alpha)
            _append(file, {**identity, "temperature": temperature, "alpha": alpha}, found[temperature, alpha])
        value = percent(found[temperature, alpha])
        remark(f"{number} of {len(cells)}: {_name(temperature, alpha)}: {value} of the validation split")
    record = _record(subject, request, found)
    best = record.best
    say(
        f"Best: temperature {best.temperature:g}, alpha {best.alpha:g}: {percent(best.validation)} of "
        f"{record.examples:,} validation examples; the student alone {percent(record.alone)}, the teacher "
        f"{percent(record.teacher_validation)}."
    )
    write_json(json_file, record.to_json())
    if request.report is not None:
        write_html(grid_page(record), request.report)
    return record


def _identity(subject: Subject, request: Request) -> dict[str, Any]:
    """Return what a cell depends on beside temperature and alpha: others have lines of their own."""
    training = request.training
    return {
        "teacher": f"{request.teacher} {fingerprint(subject.teacher)}",
        "student": f"{request.student} {fingerprint(subject.student)}",
        "data": request.data,
        "loss": str(request.distillation.loss),
        "features": str(request.distillation.features),
        "epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "ema_decay": training.ema_decay,
        "seed": training.seed,
    }


def _tried(subject: Subject, request: Request, temperature: float | None, alpha: float) -> float:
    """Return the accuracy on the validation split of one student."""
    if temperature is None:
        model: nn.Module = train_alone(subject, request, None, progress=False)
    else:
        settings = request.distillation.arguments() | {"temperature": temperature, "alpha": alpha}
        model = distill_once(subject, request, None, progress=False, **settings)
    return evaluate(model, subject.batches.validate)


def _found(file: Path, identity: Mapping[str, Any]) -> dict[tuple[float | None, float], float]:
    """Return the cells of this grid that are in the file."""
    lines: Iterable[str] = file.read_text().splitlines() if file.exists() else ()
    found: dict[tuple[float | None, float], float] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            cell, value = (record["temperature"], record["alpha"]), record["validation"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"--grid {str(file)!r}: line {number} is no record of a grid; name another file, or take the "
                f"line out."
            ) from error
        if all(record.get(name) == wanted for name, wanted in identity.items()):
            found[cell] = value
    return found


def _append(file: Path, what: Mapping[str, Any], validation: float) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps({**what, "validation": validation}) + "\n")


def _record(
    subject: Subject, request: Request, found: Mapping[tuple[float | None, float], float]
) -> GridRecord:
    teacher = Answers.of({"teacher": subject.teacher}, subject.batches.validate)
    return GridRecord(
        teacher=request.teacher,
        student=request.student,
        data=request.data,
        loss=str(request.distillation.loss),
        epochs=request.training.epochs,
        learning_rate=request.training.learning_rate,
        seed=request.training.seed,
        alone=found[None, 0.0],
        teacher_validation=teacher.accuracy("teacher"),
        cells=tuple(GridCell(t, alpha, found[t, alpha]) for t in TEMPERATURES for alpha in ALPHAS),
        examples=len(teacher),
    )


def _name(temperature: float | None, alpha: float) -> str:
    return "student alone" if temperature is None else f"temperature {temperature:g}, alpha {alpha:g}"
