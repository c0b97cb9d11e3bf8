"""The steps of ``featherweight distill``, in order."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from featherweight.cli.distilling.agreeing import Answers
from featherweight.cli.distilling.request import Request
from featherweight.cli.distilling.subject import Subject
from featherweight.cli.distilling.training import Students, train
from featherweight.cli.example import first_of, shapes_of
from featherweight.cli.output import say, show, write_json
from featherweight.cli.pruning.outcome import drafted, run_dir_of
from featherweight.profile import Latency, count_params, evaluate, profile, time_in_turns
from featherweight.report import DistillRecord, Milliseconds, distill_page, distill_table, write_html
from featherweight.report.distilling import ALONE, DISTILLED, gain_line
from featherweight.structured.checkpoint import load

SECONDS = 3.0  # of timing
TEACHER = "teacher"


@dataclass(frozen=True)
class _Measured:
    """What was found of the networks: their answers on a split, and milliseconds by name."""

    split: str
    answers: Answers
    times: dict[str, Milliseconds]
    input_shape: tuple[tuple[int, ...], ...]
    machine: dict[str, str]


def run_distill(request: Request, json_file: Path | None) -> DistillRecord:
    """Do all steps; the file is written at the end, whole or not at all.

    Raises:
        CheckFailed: the teacher changed nothing.
        FeatherweightError: it cannot be done as asked.
    """
    subject = Subject.of(request)
    run_dir = run_dir_of(request.out, subject.student, request.data)
    students = train(subject, request, run_dir)
    record = _written(subject, students, request)
    show(distill_table(record))
    say(gain_line(record))
    say(f"{record.out}: {record.bytes_compact:,} bytes")
    write_json(json_file, record.to_json())
    if request.report is not None:
        write_html(distill_page(record), request.report)
    shutil.rmtree(run_dir, ignore_errors=True)
    return record


def _written(subject: Subject, students: Students, request: Request) -> DistillRecord:
    """Write the file, read it back, measure what was read, and only then put it in its place."""
    metadata = {"model": request.student}
    with drafted(students.distilled, request.out, request.values, metadata) as (file, draft):
        read = replace(students, distilled=load(draft, into=students.distilled).eval())
        return _record(subject, read, request, _measured(subject, read), file.file_bytes)


def _measured(subject: Subject, students: Students) -> _Measured:
    networks = {TEACHER: subject.teacher, DISTILLED: students.distilled}
    alone = {} if students.alone is None else {ALONE: students.alone}
    split, batches = subject.judged
    example = first_of(next(iter(subject.batches.train)))
    times = time_in_turns(networks, example, seconds=SECONDS)
    return _Measured(
        split=split,
        answers=Answers.of(networks | alone, batches),
        times={name: _milliseconds(time) for name, time in times.items()},
        input_shape=shapes_of(example),
        machine=profile(students.distilled, example, repeats=2, warmup=0).machine,
    )


def _record(
    subject: Subject, students: Students, request: Request, measured: _Measured, file_bytes: int
) -> DistillRecord:
    answers, training = measured.answers, request.training
    alone = None if students.alone is None else ALONE
    return DistillRecord(
        teacher=request.teacher,
        student=request.student,
        data=request.data,
        teacher_accuracy=answers.accuracy(TEACHER),
        student_alone_accuracy=None if alone is None else answers.accuracy(alone),
        student_distilled_accuracy=answers.accuracy(DISTILLED),
        student_alone_agreement=None if alone is None else answers.agreement(alone, TEACHER),
        student_distilled_agreement=answers.agreement(DISTILLED, TEACHER),
        split=measured.split,
        examples=len(answers),
        teacher_params=count_params(subject.teacher, nonzero=False),
        student_params=count_params(students.distilled, nonzero=False),
        teacher_ms=measured.times[TEACHER],
        student_ms=measured.times[DISTILLED],
        input_shape=measured.input_shape,
        loss=str(request.distillation.loss),
        alpha=request.alphas,
        temperature=request.temperatures,
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        seed=training.seed,
        runs=students.runs,
        teacher_validation=evaluate(subject.teacher, subject.batches.validate),
        classes=answers.by_class(TEACHER, DISTILLED, alone, subject.classes),
        bytes_compact=file_bytes,
        out=str(request.out),
        machine=measured.machine,
    )


def _milliseconds(latency: Latency) -> Milliseconds:
    return Milliseconds(latency.median, latency.low, latency.high, latency.repeats)
