"""One training: from its start to its record."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from featherweight.core.holding import Holding
from featherweight.core.state import write_state
from featherweight.errors import TrainingError
from featherweight.profile import evaluate
from featherweight.sparsity.lottery.branches import Start, Step, branches
from featherweight.sparsity.lottery.holding import HoldingUntil, StepReached
from featherweight.sparsity.lottery.lineage import Lineage
from featherweight.sparsity.lottery.records import LevelRecord, versions
from featherweight.sparsity.lottery.rewinding import RewindPoint
from featherweight.training import History, fit
from featherweight.training.objective import accuracy


def perform(lineage: Lineage, step: Step) -> LevelRecord:
    """Train what ``step`` says, and leave masks and weights in the folder; goes on where it was stopped.

    Raises:
        FeatherweightError: it cannot be trained.
    """
    branch = branches[step.branch]()
    lineage.folder.prepare(step)
    start = branch.start(lineage, step.level)
    start.masks.save(lineage.folder.masks(step))
    if branch.makes_rewind_point:
        _make_rewind_point(lineage, step, start)
    model, history = train(lineage, start, lineage.folder.run(step))
    start.masks.check(model)
    if branch.keeps_weights:
        write_state(model, lineage.folder.weights(step))
    return _record(lineage, step, start, model, history)


def train(lineage: Lineage, start: Start, run_dir: Path) -> tuple[nn.Module, History]:
    """Train from ``start`` to the end; return the network of the chosen epoch, and its history."""
    model = _at(lineage, start.point)
    holding = Holding(model, start.masks)
    start.point.place(run_dir, holding)
    history = fit(
        model,
        lineage.data.train,
        lineage.data.validate,
        lineage.experiment.training(lineage.seed),
        pruner=holding,
        run_dir=run_dir,
        progress=False,
    )
    return model, history


def _make_rewind_point(lineage: Lineage, step: Step, start: Start) -> None:
    """Train the dense network up to the step to rewind to, and write down all that it has there."""
    path, experiment = lineage.folder.rewind(step.seed), lineage.experiment
    at = experiment.rewind_step(experiment.total_steps(lineage.data))
    if not path.exists():
        point = start.point if at == 0 else _reached(lineage, start, lineage.folder.run(step), at)
        point.save(path)


def _reached(lineage: Lineage, start: Start, run_dir: Path, step: int) -> RewindPoint:
    """Return the training after ``step`` steps; its checkpoint stays, so that the rest goes on from it."""
    model = _at(lineage, start.point)
    holding = HoldingUntil(model, start.masks, step)
    settings = replace(lineage.experiment.training(lineage.seed), checkpoint_every=step)
    data = lineage.data
    with suppress(StepReached):
        fit(model, data.train, data.validate, settings, pruner=holding, run_dir=run_dir, progress=False)
    point = RewindPoint.of_run(run_dir)
    if point.step != step:
        raise TrainingError(
            f"The checkpoint in {str(run_dir)!r} is at step {point.step}, but step {step} is to be rewound "
            f"to. Delete that folder and run again."
        )
    return point


def _at(lineage: Lineage, point: RewindPoint) -> nn.Module:
    model = lineage.network()
    model.load_state_dict(dict(point.model))
    return model


def _record(lineage: Lineage, step: Step, start: Start, model: nn.Module, history: History) -> LevelRecord:
    data, experiment = lineage.data, lineage.experiment
    test = _tested(model, data.test)
    return LevelRecord(
        experiment=experiment.key(step.branch, step.seed),
        branch=step.branch,
        seed=step.seed,
        level=step.level,
        kept=start.masks.kept,
        weights=start.masks.numel,
        validation=_known(history.best.validation),
        test=None if test is None else test[0],
        examples=0 if test is None else test[1],
        stop_step=history.best.step,
        steps=experiment.total_steps(data),
        rewound_to=start.point.step,
        seconds=sum(epoch.seconds for epoch in history.epochs[start.point.epochs :]),
        versions=versions(),
    )


def _known(validation: float | None) -> float:
    if validation is None:
        raise TrainingError("There is no accuracy on the validation split, by which everything is chosen.")
    return validation


@dataclass
class _Counting:
    """The accuracy, and on how many examples."""

    examples: int = field(default=0)

    def __call__(self, outputs: Any, targets: Tensor) -> tuple[float, float]:
        right, count = accuracy(outputs, targets)
        self.examples += int(count)
        return float(right), float(count)


def _tested(model: nn.Module, test: Iterable[Any] | None) -> tuple[float, int] | None:
    if test is None:
        return None
    metric = _Counting()
    return evaluate(model, test, metric=metric), metric.examples
