"""Pruning while fine-tuning, in one call on the default training loop."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any

from torch import nn

from featherweight.core.masks import Masks
from featherweight.core.prunable import unwrap
from featherweight.distillation.settings import DistillationSettings
from featherweight.distillation.while_pruning import Schooling, TeacherLike, taught
from featherweight.errors import SettingError
from featherweight.sparsity.allocation import AllocationLike
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.criteria import Criterion
from featherweight.sparsity.patterns import Pattern
from featherweight.sparsity.pruner import Pruner
from featherweight.sparsity.schedules import Schedule
from featherweight.training import TrainingSettings, fit
from featherweight.zoo import default_loaders

# Chosen on the validation split of Fashion-MNIST: benchmarks/methods.
FINE_TUNING = TrainingSettings(epochs=5, learning_rate=0.05)


class _PrunerOfOneRun(Pruner):
    """Refuses, before training, a schedule that the run would not bring to its end."""

    def plan(self, total_steps: int) -> None:
        super().plan(total_steps)
        self.schedule.check_fits(total_steps)


def progressive_prune(
    model: nn.Module,
    target_sparsity: float = 0.9,
    *,
    train: Any = None,
    validate: Any = None,
    criterion: str | Criterion = "magnitude",
    allocation: AllocationLike = "global",
    pattern: str | Pattern = "unstructured",
    schedule: str | Schedule = "cubic",
    skip: Sequence[str] = (),
    settings: TrainingSettings = FINE_TUNING,
    loss: Any = None,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    teacher: TeacherLike = None,
    distillation: DistillationSettings | None = None,
) -> nn.Module:
    """Return a copy of ``model`` that was pruned step by step while it was fine-tuned.

    Args:
        model: the trained network; it is not changed.
        target_sparsity: fraction of the prunable weights that are zero in the copy, 0 <= sparsity < 1.
        train: loader of (inputs, targets) batches; None: that of the model's own data set (zoo models).
        validate: loader of the split that the best epoch is chosen on; None as for ``train``.
        criterion: how much a weight matters.
        allocation: how many weights each layer keeps, also {name or pattern: sparsity} for some of them.
        pattern: the shapes that zeros may have.
        schedule: when to prune, in steps or fractions of the run; also one that has weights grow again. Zeros
            that are there before stay.
        skip: names or patterns of parameters and modules to leave alone.
        settings: epochs, rate, precision, seed and the like.
        loss: ``loss(outputs, targets)``; None: cross-entropy.
        run_dir: folder for checkpoints and metrics; an interrupted run in it is resumed.
        progress: show progress.
        teacher: what the copy learns from beside the labels: True for ``model`` itself, as it is (Sanh, Wolf,
            Rush 2020, https://arxiv.org/abs/2005.07683), or another network with the same outputs, which is
            not changed; None: the labels alone.
        distillation: the loss, the teacher's share of it, temperature and features; None: the defaults.

    Raises:
        SettingError: a setting is wrong, the schedule ends after the run, or loaders are missing and the
            model has no data of its own.
        ModelError: there is nothing to prune, or the teacher does not fit.
    """
    if (train is None) != (validate is None):
        raise SettingError("Give both train= and validate=, or neither for a model of the zoo.")
    schooling = Schooling.of(model, teacher, distillation, loss)
    sparse = copy.deepcopy(unwrap(model))
    if train is None:
        loaders = default_loaders(model)
        train, validate = loaders.train, loaders.validate
    pruner = _PrunerOfOneRun(
        sparse,
        target_sparsity,
        criterion=criterion,
        allocation=allocation,
        pattern=pattern,
        schedule=schedule,
        data=train if loss is None else Calibration.of(train, loss),
        skip=skip,
        seed=settings.seed,
        masks=Masks.from_zeros(sparse, skip),
    )
    with taught(sparse, schooling, train, settings) as guidance:
        fit(
            sparse, train, validate, settings,
            loss=loss if guidance is None else None, guidance=guidance,
            pruner=pruner, run_dir=run_dir, progress=progress,
        )  # fmt: skip
    pruner.masks.check(sparse)
    return sparse
