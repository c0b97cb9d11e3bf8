"""A teacher beside a network that is pruned: what it learns from while it is fine-tuned."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from featherweight.core.prunable import unwrap
from featherweight.distillation.distiller import Distiller, HardLoss
from featherweight.distillation.mixture import terms_of
from featherweight.distillation.outputs import first_batch
from featherweight.distillation.settings import DistillationSettings
from featherweight.errors import ModelError, SettingError
from featherweight.structured.graph_module import RewrittenModule
from featherweight.training import TrainingSettings
from featherweight.training.objective import Batch
from featherweight.training.streams import preserved_generators, seed_all

TeacherLike = nn.Module | Literal[True] | None


@dataclass(frozen=True, eq=False)
class Schooling:
    """Who teaches, and how.

    Attributes:
        teacher: run in eval mode without gradients, and not changed.
        distillation: the settings of the loss.
        hard_loss: (outputs, targets) -> scalar on the labels; None: cross-entropy.
    """

    teacher: nn.Module
    distillation: DistillationSettings
    hard_loss: HardLoss | None

    @classmethod
    def of(
        cls,
        model: nn.Module,
        teacher: TeacherLike,
        distillation: DistillationSettings | None,
        hard_loss: HardLoss | None,
    ) -> Schooling | None:
        """Return what ``teacher=`` and ``distillation=`` of a call that prunes mean; None without a teacher.

        Args:
            model: the dense network, which the call does not change: with True it is the teacher.
            teacher: a network, True, or None.
            distillation: None: the defaults.
            hard_loss: of the call.

        Raises:
            SettingError: ``teacher`` is none of these, or settings are given without one.
        """
        if teacher is None:
            if distillation is not None:
                raise SettingError("distillation= would do nothing without teacher=: give True or a network.")
            return None
        if teacher is not True and not isinstance(teacher, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SettingError(
                f"teacher is None, True (the network as it was before it is pruned) or a network, got "
                f"{teacher!r}."
            )
        network = unwrap(model) if teacher is True else teacher
        return cls(network, distillation or DistillationSettings(), hard_loss)


@contextmanager
def taught(
    student: nn.Module, schooling: Schooling | None, batches: Iterable[Batch], settings: TrainingSettings
) -> Generator[Distiller | None]:
    """Make the guidance of one training run, and take its hooks off afterwards; None without a teacher.

    Surgery replaces parameters and modules, so that each run after a cut needs one of its own.

    Args:
        student: the network that is trained.
        schooling: who teaches, and how.
        batches: the training data; the first shows the shapes.
        settings: of the run; the projectors of the losses are drawn by its seed.

    Raises:
        SettingError, ModelError: the networks do not fit each other or the loss; see ``Distiller``. Losses on
            features do not fit a network that was cut to a graph.
        TrainingError: there is no batch, or a network cannot be run on it.
    """
    if schooling is None:
        yield None
        return
    if settings.label_smoothing:
        raise SettingError("label_smoothing belongs to the default loss; with teacher= it would do nothing.")
    _check_taps(student, schooling.distillation)
    with preserved_generators(torch.device("cpu")):
        seed_all(settings.seed)
        distiller = Distiller(
            schooling.teacher,
            student,
            first_batch(batches, [schooling.teacher]),
            hard_loss=schooling.hard_loss,
            precision=settings.precision,
            **schooling.distillation.arguments(),
        )
    with distiller:
        yield distiller


def _check_taps(student: nn.Module, distillation: DistillationSettings) -> None:
    """Refuse losses on features where surgery had to make a graph of the student: no module of it runs."""
    if not isinstance(unwrap(student), RewrittenModule):
        return
    tapped = [t.name for t in terms_of(distillation.loss) if t.loss.features or t.loss.attention]
    if tapped:
        raise ModelError(
            f"Sizes are written into the network's forward, so that it was cut to a graph, which has no "
            f"modules whose features {', '.join(tapped)} could compare: take losses on logits, such as kd."
        )
