"""The demo's student, of under a tenth of the network: trained alone, and with it as its teacher."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featherweight.cli.demo.subject import Subject, sizes
from featherweight.cli.distilling.training import check_taught
from featherweight.cli.network import fingerprint
from featherweight.cli.output import remark
from featherweight.distillation.call import distill
from featherweight.errors import SettingError
from featherweight.profile import count_params, evaluate
from featherweight.report import Taught
from featherweight.report.distilling import ALONE, DISTILLED
from featherweight.training import TrainingSettings, fit
from featherweight.zoo import build

WIDTHS = ((8, 16, 32, 64), (4, 8, 16, 32), (2, 4, 8, 16))  # of the small CNN
SHARE = 0.1  # of the teacher's parameters: the student has fewer
EPOCHS, LEARNING_RATE = 4, 0.1  # of either student
LOSS: dict[str, Any] = {"loss": "kd", "alpha": 0.9, "temperature": 4.0}


@dataclass(frozen=True)
class Students:
    """The same student twice, in evaluation mode: trained alone, and taught by the network."""

    alone: nn.Module
    distilled: nn.Module


def teach(subject: Subject, seed: int, runs: Path) -> Students:
    """Train both, on the same batches for as many epochs; interrupted runs in ``runs`` go on.

    Raises:
        CheckFailed: the teacher changed nothing.
        SettingError: the network is too small to have such a student.
    """
    student = small_student(subject, seed)
    settings = TrainingSettings(epochs=EPOCHS, learning_rate=LEARNING_RATE, seed=seed)
    name = f"{subject.network}-{subject.splits.name}-student-{seed}-{fingerprint(subject.model)}"
    loaders = subject.loaders
    alone = copy.deepcopy(student)
    remark(f"{ALONE}:")
    fit(alone, loaders.train, loaders.validate, settings, run_dir=runs / f"{name}-alone")
    remark(f"{DISTILLED}:")
    distilled = distill(
        subject.model,
        student,
        loaders.train,
        loaders.validate,
        settings=settings,
        run_dir=runs / f"{name}-distilled",
        **LOSS,
    )
    check_taught(distilled, alone)
    return Students(alone.eval(), distilled.eval())


def small_student(subject: Subject, seed: int) -> nn.Module:
    """Return the widest small CNN that has under a tenth of the network's parameters, not trained.

    Raises:
        SettingError: there is none.
    """
    most = SHARE * count_params(subject.model, nonzero=False)
    for widths in WIDTHS:
        torch.manual_seed(seed)
        student = build("small_cnn", widths=widths, **sizes(subject.splits))
        if count_params(student, nonzero=False) < most:
            return student
    raise SettingError(
        f"--distill: no small CNN has under a tenth of the {round(most / SHARE):,} parameters of "
        f"{subject.network}. Take a larger --network, or `featherweight distill` with a student of your own."
    )


def score(subject: Subject, students: Students) -> Taught:
    """Return accuracy on the test images, and parameters."""
    test = subject.loaders.test
    return Taught(
        teacher_accuracy=evaluate(subject.model, test),
        student_alone_accuracy=evaluate(students.alone, test),
        student_distilled_accuracy=evaluate(students.distilled, test),
        student_params=count_params(students.distilled, nonzero=False),
        teacher_params=count_params(subject.model, nonzero=False),
    )
