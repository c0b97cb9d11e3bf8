"""The teacher, the student and the data that a command names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from featherweight.cli.batches import Batches, make_batches, try_out
from featherweight.cli.distilling.request import Request
from featherweight.cli.network import make_network
from featherweight.cli.output import remark
from featherweight.cli.resolve import is_factory
from featherweight.core.batches import UNLABELLED
from featherweight.errors import DataError
from featherweight.training.objective import split
from featherweight.zoo import load_data, trained_names


@dataclass(frozen=True)
class Subject:
    """Two networks, and their data.

    Attributes:
        teacher: in evaluation mode.
        student: as it is before it is trained.
        batches: the data.
        classes: names of the classes; (): they are not known.
    """

    teacher: nn.Module
    student: nn.Module
    batches: Batches
    classes: tuple[str, ...]

    @classmethod
    def of(cls, request: Request) -> Subject:
        """Make what is named on the command line, and run a batch of each split through both networks.

        Raises:
            SettingError: a name names nothing.
            DataError: the data do not fit the networks, or a student alone has no labels to learn from.
        """
        seed = request.training.seed
        teacher = make_network(request.teacher, request.teacher_weights, seed)
        student = make_network(request.student, request.student_weights, seed)
        if request.teacher_weights is None and request.teacher not in trained_names():
            remark("No --teacher-weights: the teacher teaches with the weights that it is made with.")
        batches = make_batches(request.data)
        for network in (teacher, student):
            try_out(network, batches, request.data)
        if request.baseline or request.grid is not None:
            _check_labelled(batches, request)
        classes = () if is_factory(request.data) else load_data(request.data).classes
        return cls(teacher, student, batches, classes)

    @property
    def judged(self) -> tuple[str, Iterable[Any]]:
        """The split that the table is of, and its batches: test, where there is one."""
        test = self.batches.test
        return ("validation", self.batches.validate) if test is None else ("test", test)


def _check_labelled(batches: Batches, request: Request) -> None:
    """Refuse training data without labels before the distilled run, which would be lost with the other."""
    targets = split(next(iter(batches.train)))[1]
    if (targets != UNLABELLED).any():
        return
    advice = "add --no-baseline" if request.grid is None else "leave --grid out, and add --no-baseline"
    raise DataError(
        f"data {request.data!r}: train: no target of the first batch is a label (all are {UNLABELLED}), and "
        f"the student alone learns from labels: {advice}."
    )
