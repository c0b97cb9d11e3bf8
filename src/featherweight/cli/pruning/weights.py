"""Prune single weights: zeros, in shapes that stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from featherweight.artifact.rounding import check_values
from featherweight.cli.anatomy import left_alone_lines
from featherweight.cli.batches import Batches
from featherweight.cli.failures import CheckFailed
from featherweight.cli.output import say, show, write_json
from featherweight.cli.pruning.one_shot import ALLOCATION, SPARSITY, OneShot, layers_table
from featherweight.cli.pruning.outcome import Measured, Subject, drafted, explained, run_dir_of
from featherweight.cli.pruning.teaching import Teaching
from featherweight.core.masks import Masks
from featherweight.core.prunable import find_prunable
from featherweight.errors import SettingError
from featherweight.profile import count_params
from featherweight.report import PruneRecord, prune_table
from featherweight.sparsity import Recipe, prune
from featherweight.sparsity.allocation import AllocationLike, PerLayer
from featherweight.sparsity.oneshot import LayerReport
from featherweight.sparsity.progressive import FINE_TUNING, progressive_prune
from featherweight.sparsity.schedules import Schedule, schedules
from featherweight.structured.checkpoint import load
from featherweight.training import TrainingSettings


@dataclass(frozen=True)
class Request:
    """What is asked for; see ``featherweight prune --help``.

    Attributes:
        tuning: epochs and learning_rate, where they were given.
        teaching: what the network learns from beside the labels; None: nothing.
        one_shot: how it is pruned without training; None: otherwise.
        begin: of the schedule, a fraction of the training; None: that of the schedule.

    Raises:
        SettingError: a setting is wrong.
    """

    model: str
    weights: Path | None
    data: str | None
    sparsity: float
    criterion: str
    allocation: AllocationLike
    schedule: str
    tuning: dict[str, Any]
    seed: int
    skip: tuple[str, ...]
    out: Path
    values: str
    teaching: Teaching | None = None
    pattern: str = "unstructured"
    one_shot: OneShot | None = None
    begin: float | None = None

    def __post_init__(self) -> None:
        Recipe(self.sparsity, self.criterion, self.allocation, self.pattern, self.skip, self.seed)
        check_values(self.values)
        _ = self.when, self.settings

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Request:
        """Return the request of a command, by the names of its options; None: not given."""
        names = ("model", "weights", "data", "seed", "out", "values")
        tuning = {name: asked[name] for name in ("epochs", "learning_rate") if asked[name] is not None}
        without = asked["one_shot"] is None
        allocation = _allocation(asked, "global" if without else ALLOCATION)
        usual = 0.9 if without else SPARSITY
        return cls(
            **{name: asked[name] for name in names},
            sparsity=usual if asked["sparsity"] is None else asked["sparsity"],
            criterion=asked["criterion"] or "magnitude",
            allocation=allocation,
            pattern=asked["pattern"] or "unstructured",
            schedule=asked["schedule"] or "cubic",
            tuning=tuning,
            skip=tuple(asked["skip"] or ()),
            teaching=Teaching.of(asked),
            one_shot=OneShot.of(asked, allocation),
            begin=asked["begin"],
        )

    @property
    def when(self) -> Schedule:
        """The schedule."""
        made = schedules[self.schedule]
        if self.begin is None:
            return made()
        if "begin" not in {field.name for field in fields(made)}:
            raise SettingError(f"--begin would do nothing with --schedule {self.schedule}.")
        end = getattr(made(), "end", None)
        if isinstance(end, float) and self.begin > end:
            raise SettingError(
                f"--begin {self.begin:g} is behind the end of --schedule {self.schedule}, {end:g} of the "
                f"training: begin earlier."
            )
        return made(begin=self.begin)  # pyright: ignore[reportCallIssue]

    @property
    def settings(self) -> TrainingSettings:
        """How to fine-tune."""
        return replace(FINE_TUNING, seed=self.seed, **self.tuning)


def run_prune(request: Request, json_file: Path | None) -> None:
    """Do all steps; the file is written at the end, whole or not at all.

    Raises:
        CheckFailed: the pruned network has more weights than asked for.
        FeatherweightError: it cannot be done as asked.
    """
    subject = Subject.of(request.model, request.weights, request.data, request.seed)
    model, batches = subject.model, subject.batches
    left_alone = find_prunable(model, request.skip).left_alone
    before = Measured.of(model, batches)
    params = count_params(model, nonzero=False)
    run_dir = run_dir_of(request.out, model, request.data)
    pruned, layers = _with_zeros(model, request, batches, run_dir, model)
    with drafted(pruned, request.out, request.values, {"model": request.model}) as (report, draft):
        after = Measured.of(load(draft, into=pruned), batches)
    record = PruneRecord(
        model=request.model,
        sparsity=Masks.from_zeros(pruned, request.skip).sparsity,
        params=params,
        nonzero=count_params(pruned),
        accuracy_before=before.accuracy if before else None,
        accuracy_after=after.accuracy if after else None,
        examples=after.examples if after else None,
        bytes_dense=report.dense_bytes,
        bytes_compact=report.file_bytes,
        out=str(request.out),
        left_alone=tuple((left.name, left.reason) for left in left_alone),
    )
    _tell(record, after, left_alone_lines(left_alone), layers)
    told = {
        "accuracy_split": after.split if after else None,
        "teacher": request.teaching and request.teaching.teacher,
        "one_shot": request.one_shot and request.one_shot.method,
        "layers": [asdict(layer) for layer in layers],
    }
    write_json(json_file, cast("dict[str, Any]", json.loads(record.to_json())) | told)
    shutil.rmtree(run_dir, ignore_errors=True)


def with_zeros(
    model: nn.Module,
    request: Request,
    batches: Batches | None,
    run_dir: Path,
    dense: nn.Module | None = None,
) -> nn.Module:
    """Return ``model`` (or a copy, where it is fine-tuned) with the zeros that are asked for.

    Args:
        model: the network.
        request: what is asked for.
        batches: None: nothing is fine-tuned.
        run_dir: for checkpoints.
        dense: what ``model`` was cut from, as its teacher; None: it was not cut.

    Raises:
        CheckFailed: it has more weights than asked for.
    """
    return _with_zeros(model, request, batches, run_dir, dense or model)[0]


def _with_zeros(
    model: nn.Module, request: Request, batches: Batches | None, run_dir: Path, dense: nn.Module
) -> tuple[nn.Module, Sequence[LayerReport]]:
    pruned, layers = model, ()
    if request.one_shot is not None and batches is not None:
        layers = request.one_shot.prune(
            model, request.sparsity, batches, run_dir, skip=request.skip, seed=request.seed
        )
    else:
        pruned = _pruned(model, request, batches, run_dir, dense)
    masks = Masks.from_zeros(pruned, request.skip)
    allowed = round((1 - request.sparsity) * masks.numel)
    if masks.kept > allowed:
        raise CheckFailed(
            f"{masks.kept:,} of {masks.numel:,} weights are not zero after pruning, at most {allowed:,} were "
            f"to be. Nothing was written."
        )
    return pruned, layers


def _pruned(
    model: nn.Module, request: Request, batches: Batches | None, run_dir: Path, dense: nn.Module
) -> nn.Module:
    asked: dict[str, Any] = {
        "criterion": request.criterion,
        "allocation": request.allocation,
        "pattern": request.pattern,
        "skip": request.skip,
    }
    if batches is None:
        prune(model, request.sparsity, seed=request.seed, **asked)
        return model
    if request.teaching is not None:
        asked |= request.teaching.arguments(dense, request.seed)
    with explained(run_dir):
        return progressive_prune(
            model,
            request.sparsity,
            train=batches.train,
            validate=batches.validate,
            schedule=request.when,
            settings=request.settings,
            run_dir=run_dir,
            **asked,
        ).eval()


def _allocation(asked: Mapping[str, Any], usual: str) -> AllocationLike:
    """Return what --allocation and --layer-sparsity ask for."""
    rest = asked["allocation"] or usual
    given = [text.rpartition("=") for text in asked["layer_sparsity"] or ()]
    try:
        targets = {name: float(fraction) for name, _, fraction in given}
    except ValueError:
        targets = {}
    if given and (len(targets) < len(given) or "" in targets):
        raise SettingError(
            f"--layer-sparsity is PATTERN=FRACTION, such as 'fc*=0.95', once for each pattern; got "
            f"{' and '.join(asked['layer_sparsity'])}."
        )
    return PerLayer(targets, rest) if targets else rest


def _tell(
    record: PruneRecord, measured: Measured | None, left_alone: list[str], layers: Sequence[LayerReport]
) -> None:
    if layers:
        show(layers_table(layers))
    show(prune_table(record))
    if measured is not None:
        measured.tell(trained=not layers)
    say("Left alone:")
    for line in left_alone:
        say(f"  {line}")
