"""``fw.distill``: a student that learns from a teacher, in one call on the default training loop."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.holding import Holding
from featherweight.core.prunable import unwrap
from featherweight.core.trace import evaluating
from featherweight.distillation.cache import TeacherCache
from featherweight.distillation.checks import check_cache, teachers_of
from featherweight.distillation.distiller import Distiller, HardLoss
from featherweight.distillation.generate import sequence_targets
from featherweight.distillation.losses import DistillationLoss, Lesson, View, losses
from featherweight.distillation.mixture import LossLike
from featherweight.distillation.outputs import find_logits, first_batch
from featherweight.distillation.pairing import Features
from featherweight.distillation.ramps import Cosine, Linear, Ramp
from featherweight.distillation.settings import DistillationSettings
from featherweight.distillation.students import student_from
from featherweight.distillation.zeros import zeros_of
from featherweight.errors import SettingError
from featherweight.training import TrainingSettings, fit
from featherweight.training.objective import Batch, Metric, Objective, accuracy
from featherweight.training.streams import preserved_generators, seed_all
from featherweight.zoo import card_of, default_loaders

DISTILLING = TrainingSettings(epochs=10, learning_rate=0.05)


class Distill:
    """Train a copy of a student to do what a teacher does: ``fw.distill(teacher, student, train)``.

    >>> small = fw.distill(teacher, student, train, validate, loss="kd", alpha=0.5, temperature=4.0)

    See ``help(fw.distill.__call__)`` for the arguments. The attributes are the pieces, for training loops of
    your own.

    Attributes:
        Distiller: the loss of a batch, an ``nn.Module``.
        losses: the losses by name, such as ``fw.distill.losses["kd"](temperature=2.0)``.
        DistillationLoss: base class of losses of your own; sees a ``View`` of each network and a ``Lesson``.
        View: what a loss sees of one network.
        Lesson: what a loss knows of the batch.
        Ramp: protocol of alpha and temperature that change; ``Linear`` and ``Cosine`` are two.
        Linear: from one value to another in a straight line.
        Cosine: from one value to another, slowly at both.
        TeacherCache: outputs of a teacher on disk; ``open(folder)``.
        DistillationSettings: loss, alpha, temperature and features, for calls that prune with a teacher.
        student_from: a student that is some blocks of its teacher, or a narrower copy.
        sequence_targets: batches whose labels a language model decoded, for the loss "sequence".
    """

    Distiller = Distiller
    losses = losses
    DistillationLoss = DistillationLoss
    View = View
    Lesson = Lesson
    Ramp = Ramp
    Linear = Linear
    Cosine = Cosine
    TeacherCache = TeacherCache
    DistillationSettings = DistillationSettings
    student_from = staticmethod(student_from)
    sequence_targets = staticmethod(sequence_targets)

    def __call__(
        self,
        teacher: nn.Module | Sequence[nn.Module],
        student: nn.Module,
        train: Iterable[Batch] | None = None,
        validate: Iterable[Batch] | None = None,
        *,
        loss: LossLike = "kd",
        alpha: float | tuple[float, float] | Ramp = 0.5,
        temperature: float | tuple[float, float] | Ramp | None = None,
        features: Features = "auto",
        hard_loss: HardLoss | None = None,
        teacher_weights: Sequence[float] | None = None,
        settings: TrainingSettings = DISTILLING,
        metric: Metric | None = None,
        keep_zeros: bool = True,
        teacher_device: torch.device | str | None = None,
        cache: TeacherCache | str | os.PathLike[str] | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> nn.Module:
        """Return a copy of ``student`` that was trained to do what ``teacher`` does.

        Args:
            teacher: the trained network, or several; run in eval mode, and not changed.
            student: the network to train, fresh or trained; it is not changed.
            train: loader of batches: (inputs, targets), mappings with "labels", or with ``alpha=1`` inputs
                alone. None: that of the teacher's own data set, or else the student's (networks of the zoo).
            validate: loader of the split that the best epoch is chosen on; None: the last epoch is taken;
                without ``train``, that of the same data set.
            loss: a name of ``fw.distill.losses``, a sum such as "kd + 50*at", a loss object, or a mapping of
                either to weights.
            alpha: share of the teacher, 0..1, of the loss; the rest is cross-entropy with the labels. A pair
                goes from one to the other over the run.
            temperature: of the losses that take one; None: their own (4 for "kd").
            features: "auto", or pairs (teacher path, student path) of modules whose outputs are compared.
            hard_loss: ``(outputs, targets) -> scalar`` in the place of cross-entropy.
            teacher_weights: of several teachers, above 0; None: equal.
            settings: epochs, rate, precision (the teacher's too), seed, average of the weights and the like.
            metric: ``(outputs, targets) -> (sum, count)``, whose quotient is maximised; None: accuracy.
            keep_zeros: whether the zeros of a pruned student stay zero. A weight tensor that is zero
                throughout was initialised so, to be trained, and is not taken for pruned.
            teacher_device: where the teacher runs; None: where the student is trained.
            cache: a folder, or a ``TeacherCache``: the teacher's outputs on disk, in the place of running it.
                A folder that has none is filled from ``train`` first, in one pass; for data that are the same
                in every epoch.
            run_dir: folder for checkpoints and metrics; an interrupted run in it is resumed.
            progress: show progress.

        Raises:
            SettingError: a setting is wrong or without effect, or loaders are missing and neither network has
                data of its own.
            ModelError: the networks do not fit each other, or have not what a loss needs.
            TrainingError: a network cannot be run on the batches, or the loss is not finite.
            ResumeError: ``run_dir`` holds another run.
            DataError: the cache is of another teacher, or the data are augmented afresh in every epoch.
        """
        teachers = teachers_of(teacher)
        check_cache(cache)
        if settings.label_smoothing:
            raise SettingError(
                "label_smoothing would do nothing: give hard_loss=nn.CrossEntropyLoss(label_smoothing=...)."
            )
        if train is None and validate is not None:
            raise SettingError("validate= without train=: give both, or neither for a network of the zoo.")
        if train is None:
            loaders = default_loaders(_of_the_zoo([*teachers, student]))
            train, validate = loaders.train, loaders.validate
        learnt = copy.deepcopy(unwrap(student))
        masks = zeros_of(learnt) if keep_zeros else None
        with preserved_generators(torch.device("cpu")):
            if validate is not None and metric is None:
                _check_counted(learnt, first_batch(validate, [learnt]))
            seed_all(settings.seed)  # losses may draw projectors
            distiller = Distiller(
                teacher,
                learnt,
                first_batch(train, teachers),
                loss=copy.deepcopy(loss),  # projectors and queues of this run are no others'
                alpha=alpha,
                temperature=temperature,
                features=features,
                hard_loss=hard_loss,
                teacher_weights=teacher_weights,
                precision=settings.precision,
                teacher_device=teacher_device,
                cache=cache if isinstance(cache, TeacherCache) else None,
            )
        holder = None if masks is None else Holding(learnt, masks)
        with distiller:
            if cache is not None and not isinstance(cache, TeacherCache):
                distiller.fill_cache(
                    train, cache, repeated=settings.epochs > 1, progress=progress, device=_fastest()
                )
            fit(
                learnt, train, validate, settings,
                guidance=distiller, pruner=holder, metric=metric or _accuracy, run_dir=run_dir,
                progress=progress,
            )  # fmt: skip
        if masks is not None:
            masks.check(learnt)
        return learnt


distill = Distill()


def _accuracy(outputs: Any, targets: Tensor) -> tuple[int, int]:
    """Count correct predictions, of the logits that the losses compare: those of a tuple, too."""
    found = find_logits(outputs)
    return accuracy(outputs if found is None else found, targets)


def _check_counted(student: nn.Module, batch: Batch) -> None:
    """Raise TrainingError where the accuracy cannot be counted: found after an epoch, it would cost that."""
    objective = Objective(None, _accuracy, label_smoothing=0.0, precision="fp32", channels_last=False)
    with evaluating(student):
        objective.metric(*objective.outputs(student, batch))


def _fastest() -> torch.device | None:
    """Return the accelerator that this process trains on; None where there is none."""
    kind = torch.accelerator.current_accelerator(check_available=True)
    return None if kind is None else torch.device(kind.type, int(os.environ.get("LOCAL_RANK", "0")))


def _of_the_zoo(networks: Sequence[nn.Module]) -> nn.Module:
    """Return the first that knows its data; else the first."""
    return next((network for network in networks if card_of(unwrap(network)) is not None), networks[0])
