"""The steps of ``featherweight prune``."""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from featherweight.artifact import WriteReport, replacing
from featherweight.artifact.rounding import Values, check_values
from featherweight.cli.anatomy import left_alone_lines
from featherweight.cli.batches import Batches, make_batches, try_out
from featherweight.cli.failures import CheckFailed
from featherweight.cli.network import fingerprint, make_network
from featherweight.cli.output import remark, say, show, write_json
from featherweight.core.masks import Masks
from featherweight.core.prunable import find_prunable
from featherweight.errors import ResumeError, SettingError
from featherweight.profile import count_params, evaluate
from featherweight.report import PruneRecord, prune_table
from featherweight.sparsity import Recipe, prune
from featherweight.sparsity.progressive import FINE_TUNING, progressive_prune
from featherweight.sparsity.schedules import schedules
from featherweight.structured.checkpoint import load, save
from featherweight.training import TrainingSettings
from featherweight.training.checkpoint import FILE as CHECKPOINT


@dataclass(frozen=True)
class Request:
    """What is asked for; see ``featherweight prune --help``.

    Attributes:
        tuning: schedule, epochs and learning_rate; None where they were not given.

    Raises:
        SettingError: a setting is wrong, or would do nothing.
    """

    model: str
    weights: Path | None
    data: str | None
    sparsity: float
    criterion: str
    allocation: str
    tuning: dict[str, Any]
    seed: int
    skip: tuple[str, ...]
    out: Path
    values: str

    def __post_init__(self) -> None:
        Recipe(self.sparsity, self.criterion, self.allocation, skip=self.skip, seed=self.seed)
        check_values(self.values)
        if self.data is None and (
            given := [name for name, value in self.tuning.items() if value is not None]
        ):
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise SettingError(
                f"{options} would do nothing without --data: there is nothing to fine-tune on."
            )
        _ = schedules[self.schedule], self.settings

    @property
    def schedule(self) -> str:
        """Name of the schedule."""
        return self.tuning["schedule"] or "cubic"

    @property
    def settings(self) -> TrainingSettings:
        """How to fine-tune."""
        given = {k: v for k, v in self.tuning.items() if v is not None and k != "schedule"}
        return replace(FINE_TUNING, seed=self.seed, **given)


@dataclass(frozen=True)
class Measured:
    """Accuracy on ``split`` of ``examples`` examples, 0..1."""

    split: str
    examples: int
    before: float
    after: float


def run_prune(request: Request, json_file: Path | None) -> None:
    """Do all steps; the file is written at the end, whole or not at all.

    Raises:
        CheckFailed: the pruned network has more weights than asked for.
        FeatherweightError: it cannot be done as asked.
    """
    model = make_network(request.model, request.weights, request.seed)
    if request.weights is None:
        remark("No --weights: the network is pruned with the weights that it is made with.")
    left_alone = find_prunable(model, request.skip).left_alone
    batches = None if request.data is None else make_batches(request.data)
    if batches is not None:
        try_out(model, batches, request.data or "")
    before = None if batches is None else _accuracy(model, batches)
    params = count_params(model, nonzero=False)
    run_dir = _run_dir(request, model)
    pruned = _pruned(model, request, batches, run_dir)
    _check(pruned, request)
    report, measured, nonzero = _written(pruned, request, batches, before)
    record = PruneRecord(
        model=request.model,
        sparsity=Masks.from_zeros(pruned, request.skip).sparsity,
        params=params,
        nonzero=nonzero,
        accuracy_before=measured.before if measured else None,
        accuracy_after=measured.after if measured else None,
        examples=measured.examples if measured else None,
        bytes_dense=report.dense_bytes,
        bytes_compact=report.file_bytes,
        out=str(request.out),
        left_alone=tuple((left.name, left.reason) for left in left_alone),
    )
    _tell(record, measured, left_alone_lines(left_alone))
    split = measured.split if measured else None
    write_json(json_file, cast("dict[str, Any]", json.loads(record.to_json())) | {"accuracy_split": split})
    shutil.rmtree(run_dir, ignore_errors=True)


def _run_dir(request: Request, model: nn.Module) -> Path:
    """Return the folder of checkpoints, beside the file; other weights or data have another one."""
    data = zlib.crc32((request.data or "").encode())
    return request.out.with_name(f".{request.out.name}.{fingerprint(model)}.{data:08x}.run")


def _pruned(model: nn.Module, request: Request, batches: Batches | None, run_dir: Path) -> nn.Module:
    asked: dict[str, Any] = {
        "criterion": request.criterion,
        "allocation": request.allocation,
        "skip": request.skip,
    }
    if batches is None:
        prune(model, request.sparsity, seed=request.seed, **asked)
        return model
    with _explained(run_dir):
        return progressive_prune(
            model,
            request.sparsity,
            train=batches.train,
            validate=batches.validate,
            schedule=request.schedule,
            settings=request.settings,
            run_dir=run_dir,
            **asked,
        ).eval()


@contextmanager
def _explained(run_dir: Path) -> Generator[None]:
    """Leave no folder without a checkpoint behind, and say what to do about one that is of another run."""
    try:
        yield
    except ResumeError as error:
        raise ResumeError(
            f"{error} Here: repeat the command of then, name another --out, or delete the folder {run_dir}."
        ) from error
    except Exception:
        if not (run_dir / CHECKPOINT).exists():
            shutil.rmtree(run_dir, ignore_errors=True)
        raise


def _check(pruned: nn.Module, request: Request) -> None:
    masks = Masks.from_zeros(pruned, request.skip)
    allowed = round((1 - request.sparsity) * masks.numel)
    if masks.kept > allowed:
        raise CheckFailed(
            f"{masks.kept:,} of {masks.numel:,} weights are not zero after pruning, at most {allowed:,} were "
            f"to be. Nothing was written."
        )


def _written(
    pruned: nn.Module, request: Request, batches: Batches | None, before: tuple[str, int, float] | None
) -> tuple[WriteReport, Measured | None, int]:
    """Write the file, read it back, measure what was read, and only then put it in its place."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.safetensors"
        report = save(pruned, draft, values=cast(Values, request.values), metadata={"model": request.model})
        model = load(draft, into=pruned)
        measured = None
        if batches is not None and before is not None:
            measured = Measured(*before, after=_accuracy(model, batches)[2])
        with replacing(request.out) as file:
            file.write(draft.read_bytes())
    return report, measured, count_params(model)


def _accuracy(model: nn.Module, batches: Batches) -> tuple[str, int, float]:
    """Return the split (test, where there is one), the number of its examples, and the accuracy on it."""
    split, loader = ("validation", batches.validate) if batches.test is None else ("test", batches.test)
    return split, _count(loader), evaluate(model, loader)


def _count(loader: Iterable[Any]) -> int:
    """Count examples, by the targets."""
    return sum(len(batch["labels"] if isinstance(batch, dict) else batch[1]) for batch in loader)


def _tell(record: PruneRecord, measured: Measured | None, left_alone: list[str]) -> None:
    show(prune_table(record))
    if measured is not None:
        chosen = " (on which the epoch was chosen, too)" if measured.split == "validation" else ""
        say(f"Accuracy on the {measured.split} split, {measured.examples:,} examples{chosen}.")
    say("Left alone:")
    for line in left_alone:
        say(f"  {line}")
