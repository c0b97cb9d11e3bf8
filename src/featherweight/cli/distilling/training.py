"""Train a student with its teacher, and alone: the same start, the same batches, as many epochs."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featherweight.cli.distilling.request import Request
from featherweight.cli.distilling.subject import Subject
from featherweight.cli.failures import CheckFailed
from featherweight.cli.output import remark
from featherweight.cli.pruning.outcome import explained
from featherweight.core.holding import Holding
from featherweight.distillation.call import distill
from featherweight.distillation.zeros import zeros_of
from featherweight.report import Training
from featherweight.report.distilling import ALONE, DISTILLED
from featherweight.training import fit
from featherweight.training.records import METRICS


@dataclass(frozen=True)
class Students:
    """The two students, and their epochs.

    Attributes:
        distilled: taught by the teacher, in evaluation mode.
        alone: trained on the labels alone; None: that was not asked for.
        runs: epochs of the one alone, where there is one, and of the distilled one.
    """

    distilled: nn.Module
    alone: nn.Module | None
    runs: tuple[Training, ...]


def train(subject: Subject, request: Request, runs: Path) -> Students:
    """Train both; interrupted runs in the folder ``runs`` go on.

    The distilled one comes first: whatever does not fit between teacher and student is refused in seconds.

    Raises:
        CheckFailed: the teacher changed nothing.
        FeatherweightError: it cannot be done as asked.
    """
    with explained(runs):
        remark(f"{DISTILLED}:")
        distilled = distill_once(subject, request, runs / "distilled", **request.distillation.arguments())
        epochs = (_epochs(DISTILLED, runs / "distilled"),)
        if not request.baseline:
            return Students(distilled, None, epochs)
        remark(f"{ALONE}:")
        alone = train_alone(subject, request, runs / "alone")
    check_taught(distilled, alone)
    return Students(distilled, alone, (_epochs(ALONE, runs / "alone"), *epochs))


def distill_once(
    subject: Subject, request: Request, run_dir: Path | None, *, progress: bool = True, **settings: Any
) -> nn.Module:
    """Return a copy of the student that the teacher taught.

    Args:
        subject: the networks and the data.
        request: the settings of the training, and the cache.
        run_dir: for checkpoints; None: nothing is written.
        progress: show progress.
        settings: of the loss, as ``fw.distill`` takes them.
    """
    return distill(
        subject.teacher,
        subject.student,
        subject.batches.train,
        subject.batches.validate,
        settings=request.training,
        cache=request.cache,
        run_dir=run_dir,
        progress=progress,
        **settings,
    ).eval()


def train_alone(
    subject: Subject, request: Request, run_dir: Path | None, *, progress: bool = True
) -> nn.Module:
    """Return a copy of the student trained on the labels alone; its zeros stay, as in ``distill``."""
    alone = copy.deepcopy(subject.student)
    masks = zeros_of(alone)
    fit(
        alone,
        subject.batches.train,
        subject.batches.validate,
        request.training,
        pruner=None if masks is None else Holding(alone, masks),
        run_dir=run_dir,
        progress=progress,
    )
    return alone.eval()


def check_taught(distilled: nn.Module, alone: nn.Module) -> None:
    """Raise CheckFailed if the distilled student is the one that was trained alone."""
    own, other = distilled.state_dict(), alone.state_dict()
    if all(torch.equal(value, other[name]) for name, value in own.items()):
        raise CheckFailed(
            "the distilled student has the weights of the student alone: the teacher changed nothing. "
            "Nothing was written."
        )


def _epochs(label: str, run_dir: Path) -> Training:
    records = [json.loads(line) for line in (run_dir / METRICS).read_text().splitlines()]
    accuracies = tuple(record["validation"] for record in records)
    return Training(label, accuracies, sum(record["seconds"] for record in records))
