"""Structured pruning step by step, with fine-tuning in between."""

from __future__ import annotations

import copy
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn import functional as F

from featherweight.artifact import replacing
from featherweight.core.prunable import unwrap
from featherweight.core.trace import Example, as_arguments, evaluating
from featherweight.distillation.settings import DistillationSettings
from featherweight.distillation.while_pruning import Schooling, TeacherLike, taught
from featherweight.errors import ResumeError, SettingError
from featherweight.profile import evaluate
from featherweight.profile.macs import count_macs
from featherweight.structured.batch_norm import reestimate_batch_norm
from featherweight.structured.checkpoint import load, save
from featherweight.structured.choose import Selecting, choose
from featherweight.structured.depth.decide import Network, decide, left_of
from featherweight.structured.depth.importance import BlockImportance
from featherweight.structured.depth.settings import Depth
from featherweight.structured.given import check_given
from featherweight.structured.importance import Importance
from featherweight.structured.penalty import GrowingPenalty
from featherweight.structured.prune import perform, without_blocks
from featherweight.structured.selection import Floors
from featherweight.structured.target import Clock, Target
from featherweight.training import TrainingSettings, fit
from featherweight.zoo import default_loaders

BETWEEN = TrainingSettings(epochs=1, learning_rate=0.02)
FINE_TUNING = TrainingSettings(epochs=5, learning_rate=0.05)
_NOTED = ("left", "params", "macs", "cut")  # of a cut, in a file; and "predicted", but by earlier versions


@dataclass(frozen=True)
class Step:
    """One cut of a stepwise pruning, and the fine-tuning after it.

    Attributes:
        left: fraction of the target's quantity that is left of the first network.
        params: parameters left.
        macs: multiply-accumulates left.
        cut: accuracy (or the metric) on the validation split after the cut, batch norm re-estimated, 0..1.
        tuned: the same after fine-tuning.
        predicted: the fraction that the selection was to leave; None where an earlier version noted the cut.
    """

    left: float
    params: int
    macs: int
    cut: float
    tuned: float
    predicted: float | None = None


def progressive_prune_structured(
    model: nn.Module,
    example_inputs: Example,
    *,
    keep: float | None = None,
    params: float | None = None,
    macs: float | None = None,
    latency: float | None = None,
    clock: Clock | None = None,
    steps: int = 3,
    train: Iterable[Any] | None = None,
    validate: Iterable[Any] | None = None,
    between: TrainingSettings = BETWEEN,
    settings: TrainingSettings = FINE_TUNING,
    penalty: float | None = None,
    criterion: str | Importance = "l2",
    scope: str = "global",
    skip: Sequence[str] = (),
    min_keep: int = 1,
    round_to: int = 1,
    loss: Any = None,
    metric: Any = None,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    blocks: int | str = 0,
    block_criterion: str | BlockImportance | None = None,
    block_unit: str = "block",
    teacher: TeacherLike = None,
    distillation: DistillationSettings | None = None,
) -> tuple[nn.Module, tuple[Step, ...]]:
    """Return a copy of ``model`` that was cut in several steps and fine-tuned after each.

    The target is approached geometrically: each step leaves the same fraction of what the last one left.

    Args:
        model: the trained network; it is not changed.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments.
        keep: what is left of all units at most; see ``prune_structured``, also for the next four.
        params: what is left of the parameters.
        macs: what is left of the multiply-accumulates.
        latency: what is left of the time of a forward pass.
        clock: measures that time.
        steps: number of cuts; with a number of ``blocks`` and no target it is one.
        train: loader of (inputs, targets) batches; None: that of the model's own data set (zoo models).
        validate: loader of the split that the best epoch is chosen on; None as for ``train``.
        between: how to fine-tune after each cut but the last.
        settings: how to fine-tune at the end.
        penalty: before each cut, train as ``between`` says with a penalty on what will go that grows up to
            this strength (1.0 is usual); None: without.
        criterion: how much a unit matters; gradients are taken from ten batches of ``train``.
        scope: "global" or "group".
        skip: names or patterns of parameters and modules whose groups are left alone.
        min_keep: units that each group keeps at least.
        round_to: groups keep multiples of this many units; those with fewer units are not rounded.
        loss: ``loss(outputs, targets)``; None: cross-entropy.
        metric: ``(outputs, targets) -> (sum, count)``, whose quotient is maximised; None: accuracy.
        run_dir: folder for checkpoints and metrics; an interrupted run in it is resumed.
        progress: show progress.
        blocks: how many residual blocks or layers are removed whole, all in the first step; see
            ``prune_structured``, also for the next two. They are measured on ten batches of ``train``; "auto"
            and "only" look at the whole target. With a number of them no target need be given.
        block_criterion: how much a block matters; None: "loss".
        block_unit: "block" or "branch".
        teacher: what the cut networks learn from beside the labels, in every training: True for ``model``
            itself, as it is, or another network with the same outputs, which is not changed; None: the labels
            alone.
        distillation: the loss, the teacher's share of it, temperature and features; None: the defaults.

    Raises:
        SettingError: a setting is wrong, the target cannot be reached, or loaders are missing and the model
            has no data of its own.
        TraceError: torch.export cannot trace the model.
        ModelError: there is nothing to cut, or the teacher does not fit.
        SurgeryError: a cut network is not the same as the zeroed one.
        ResumeError: ``run_dir`` holds another run, or what it noted is damaged.
    """
    depth = Depth(blocks, block_criterion, block_unit)
    given = {"keep": keep, "params": params, "macs": macs, "latency": latency}
    unaimed = isinstance(blocks, int) and blocks > 0 and all(value is None for value in given.values())
    target = None if unaimed else Target.of(**given)
    if unaimed and (penalty is not None or clock is not None):
        raise SettingError("penalty= and clock= are for a target; with blocks= alone they would do nothing.")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:  # pyright: ignore
        raise SettingError(f"steps is the number of cuts, at least 1, got {steps!r}.")
    check_given(unwrap(model), example_inputs)
    if (train is None) != (validate is None):
        raise SettingError("Give both train= and validate=, or neither for a model of the zoo.")
    if train is None or validate is None:
        loaders = default_loaders(model)
        train, validate = loaders.train, loaders.validate
    schooling = Schooling.of(model, teacher, distillation, loss)
    floors, mean = Floors(min_keep, round_to), loss or F.cross_entropy
    how = Selecting(criterion, scope, skip, floors, loss=mean, clock=clock, seed=settings.seed)
    run = _Run(
        model=copy.deepcopy(unwrap(model)),
        example=example_inputs,
        target=target,
        how=how,
        train=train,
        validate=validate,
        penalty=penalty,
        loss=loss,
        metric=metric,
        folder=None if run_dir is None else Path(run_dir),
        progress=progress,
        depth=depth,
        schooling=schooling,
    )
    cuts = 1 if target is None else steps
    tunings = [replace(between, seed=settings.seed)] * (cuts - 1) + [settings]
    shrinking = replace(between, seed=settings.seed)
    for trial in (shrinking, settings):
        run.try_teacher(trial)
    return run(tunings, shrinking)


@dataclass
class _Run:
    """The network on its way to the target."""

    model: nn.Module
    example: Example
    target: Target | None
    how: Selecting
    train: Iterable[Any]
    validate: Iterable[Any]
    penalty: float | None
    loss: Any
    metric: Any
    folder: Path | None
    progress: bool
    depth: Depth
    schooling: Schooling | None = None
    left: float = 1.0

    def __post_init__(self) -> None:
        self.original = copy.deepcopy(self.model)
        self.lesson: str | None = None

    def try_teacher(self, settings: TrainingSettings) -> None:
        """Refuse a teacher that does not fit before anything is cut, and note who teaches what."""
        with taught(self.model, self.schooling, self.train, settings) as guidance:
            self.lesson = None if guidance is None else guidance.fingerprint()

    def __call__(
        self, tunings: Sequence[TrainingSettings], shrinking: TrainingSettings
    ) -> tuple[nn.Module, tuple[Step, ...]]:
        done: list[Step] = []
        for number, tuning in enumerate(tunings, start=1):
            aim = 1.0 if self.target is None else self.target.fraction ** (number / len(tunings))
            noted = self._noted(number, aim)
            if noted is None:
                noted = self._cut(number, aim, shrinking)
            self.left = noted["left"]
            self._fit(tuning, f"step-{number}")
            done.append(Step(**noted, tuned=self._score()))
        return self.model, tuple(done)

    def _cut(self, number: int, aim: float, shrinking: TrainingSettings) -> dict[str, Any]:
        """Cut down to ``aim`` and note what came of it."""
        how = replace(self.how, data=_First(self.train, 10))
        if number == 1 and self.depth:
            self._remove_blocks(how)
        if number == 1 and self.target is not None and self.left > self.target.fraction:
            self._check_reachable(how, self.target)
        if self.target is None or aim >= self.left:
            reestimate_batch_norm(self.model, self.train)
            return self._note(number, aim, self.left, self.left)
        target = replace(self.target, fraction=aim / self.left)
        chosen = choose(self.model, self.example, target, how)
        if self.penalty is not None:
            growing = GrowingPenalty(self.model, chosen.cut.stored, self.penalty)
            self._fit(shrinking, f"step-{number}-penalty", growing)
            chosen = chosen.of_now(self.model, self.example)
        self.model, surgery = perform(self.model, self.example, chosen)
        reestimate_batch_norm(self.model, self.train)
        reached = surgery.reached
        return self._note(number, aim, self.left * reached.achieved, self.left * reached.predicted)

    def _remove_blocks(self, how: Selecting) -> None:
        network = Network.of(self.model, self.example, how)
        decision = decide(network, self.target, self.depth)
        with without_blocks(network, decision) as removal:
            if self.target is None:
                self.left = decision.left
            else:
                self.left = left_of(network, self.target, removal.model)
            self.model = removal.model

    def _check_reachable(self, how: Selecting, target: Target) -> None:
        """Refuse, before anything is trained, a target that no cut reaches; what is cut does not matter."""
        rest = replace(target, fraction=target.fraction / self.left)
        choose(self.model, self.example, rest, replace(how, criterion="random", data=None))

    def _fit(self, settings: TrainingSettings, name: str, pruner: GrowingPenalty | None = None) -> None:
        folder = None if self.folder is None else self.folder / name
        with taught(self.model, self.schooling, self.train, settings) as guidance:
            fit(
                self.model, self.train, self.validate, settings,
                loss=self.loss if guidance is None else None, guidance=guidance,
                metric=self.metric, pruner=pruner, run_dir=folder, progress=self.progress,
            )  # fmt: skip

    def _score(self) -> float:
        return evaluate(self.model, self.validate, metric=self.metric)

    def _note(self, number: int, aim: float, left: float, predicted: float) -> dict[str, Any]:
        """Return what is known of a cut, and write it beside the cut network."""
        args, kwargs = as_arguments(self.example)
        with evaluating(self.model):
            macs, _ = count_macs(self.model, lambda: self.model(*args, **kwargs))
        noted = {
            "left": left,
            "params": sum(parameter.numel() for parameter in self.model.parameters()),
            "macs": sum(macs.values()),
            "cut": self._score(),
            "predicted": predicted,
        }
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            save(self.model, self._file(number, "safetensors"))
            with replacing(self._file(number, "json")) as file:
                file.write(json.dumps({"asked": self._asked(aim)} | noted).encode())
        return noted

    def _noted(self, number: int, aim: float) -> dict[str, Any] | None:
        """Return what an earlier run noted of this cut, and take its network."""
        if self.folder is None or not self._file(number, "json").exists():
            return None
        asked, noted = _read_note(self._file(number, "json"))
        if asked != self._asked(aim):
            raise ResumeError(
                f"{str(self.folder)!r} holds a run with other settings. Give another run_dir, or remove it."
            )
        self.model = load(self._file(number, "safetensors"), into=copy.deepcopy(self.original))
        return noted

    def _asked(self, aim: float) -> list[Any]:
        how = self.how
        name = how.criterion if isinstance(how.criterion, str) else getattr(how.criterion, "__name__", "own")
        target = "blocks" if self.target is None else self.target.name
        return [
            target, aim, name, how.scope, list(how.skip), asdict(how.floors), self.penalty,
            how.seed, *(self.depth.to_list() if self.depth else []),
            *([] if self.lesson is None else [self.lesson]),
        ]  # fmt: skip

    def _file(self, number: int, ending: str) -> Path:
        assert self.folder is not None
        return self.folder / f"cut-{number}.{ending}"


def _read_note(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return what was asked for, and what was noted of the cut; raises ResumeError if it is anything else."""
    try:
        noted: Any = json.loads(path.read_bytes())
        asked = noted.pop("asked")
        kinds = {name: type(value).__name__ for name, value in noted.items()}
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise _damaged(path, repr(error)) from error
    if kinds.keys() - {"predicted"} != set(_NOTED) or not set(kinds.values()) <= {"int", "float"}:
        raise _damaged(path, f"its entries are {', '.join(f'{n} ({kind})' for n, kind in kinds.items())}")
    return asked, noted


def _damaged(path: Path, what: str) -> ResumeError:
    return ResumeError(
        f"{str(path)!r} is damaged: {what[:200]}. Remove the folder of the run to start anew, or this file "
        f"and those of later steps to go on from the step before."
    )


@dataclass(frozen=True)
class _First:
    """The first batches of a loader, each time it is asked."""

    batches: Iterable[Any]
    number: int

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self.batches), self.number)
