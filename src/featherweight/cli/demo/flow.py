"""The steps of the demo, in order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from featherweight.artifact import WriteReport
from featherweight.cli.demo import deploying, methods, narrowing, pictures, teaching
from featherweight.cli.demo.clock import Clock
from featherweight.cli.demo.fresh import differs_in_fresh_process, write_predictions
from featherweight.cli.demo.subject import Subject, make_subject
from featherweight.cli.failures import CheckFailed
from featherweight.cli.output import remark, say, show, write_json
from featherweight.core.masks import Masks
from featherweight.errors import SettingError
from featherweight.profile import Profile, count_params, evaluate, profile
from featherweight.report import DemoRecord, Taught, demo_table, write_page
from featherweight.structured.checkpoint import save
from featherweight.training import TrainingSettings

COMPARED = 1_000  # test images whose predictions the fresh process compares
PRUNING = "prune progressively while fine-tuning"
TEACHING = "a student, alone and with the network as its teacher"
NARROWING = "remove channels, fine-tune, time"


@dataclass(frozen=True)
class Request:
    """What the demo was asked for; see ``featherweight demo --help``.

    Raises:
        SettingError: sparsity, epochs or seed is out of range.
    """

    network: str
    data: str
    sparsity: float
    epochs: int
    seed: int
    out: Path
    json: Path | None = None
    distill: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.sparsity < 1:
            raise SettingError(
                f"--sparsity is the fraction of zeros, between 0 and 1, got {self.sparsity}. "
                f"To keep a tenth of the weights, ask for 0.9."
            )
        TrainingSettings(epochs=self.epochs, seed=self.seed)
        if self.out.exists() and not self.out.is_dir():
            raise SettingError(f"--out {str(self.out)!r} is a file; give the name of a folder.")

    @property
    def runs(self) -> Path:
        """Folder of the checkpoints."""
        return self.out / "runs"


@dataclass(frozen=True)
class Saved:
    """The compact files, and how a fresh process predicts otherwise (None: it does not)."""

    fp32: WriteReport
    fp16: WriteReport
    structured: WriteReport
    difference: str | None


def run_demo(request: Request) -> DemoRecord:
    """Do all steps, write the files, and return the record.

    Raises:
        CheckFailed: a method did not prune, or the reloaded file predicts otherwise.
        FeatherweightError: it cannot be done as asked.
    """
    clock = Clock()
    request.out.mkdir(parents=True, exist_ok=True)
    with clock.phase("load"):
        subject = make_subject(request.network, request.data, request.seed, request.runs)
    if request.distill:
        teaching.small_student(subject, request.seed)  # refused now, not after all else
    with clock.phase("profile"):
        profiled = _profile(subject)
    sparsity, seed = request.sparsity, request.seed
    with clock.phase(PRUNING):
        pruned = methods.prune_progressively(subject, sparsity, request.epochs, seed, request.runs)
    clock.at_least(PRUNING, sum(epoch["seconds"] for epoch in pruned.epochs))
    with clock.phase(NARROWING):
        narrowed = narrowing.narrow(subject, request.epochs, seed, request.runs)
    with clock.phase("save, and reload in a fresh process"):
        saved = _save(subject, pruned.model, narrowed.model, request.out)
    with clock.phase("accuracy on the test images"):
        accuracy = _test_accuracy(subject, pruned.model, narrowed.model, sparsity, seed)
    with clock.phase("accuracy on the validation images at each sparsity"):
        curves = methods.curves(subject, pruned, sparsity, seed)
    with clock.phase("deployed, without PyTorch"):
        deployed = deploying.deploy(subject, pruned.model, request.out)
    taught = _teach(subject, request, clock) if request.distill else None
    record = _record(
        request, subject, profiled, pruned.model, narrowed, saved, deployed, accuracy, curves, taught, clock
    )
    _finish(record, request, clock)
    if saved.difference:
        raise CheckFailed(f"In a fresh process: {saved.difference}.")
    return record


def _teach(subject: Subject, request: Request, clock: Clock) -> Taught:
    with clock.phase(TEACHING):
        return teaching.score(subject, teaching.teach(subject, request.seed, request.runs))


def _profile(subject: Subject) -> Profile:
    images = subject.splits.test.images
    say(f"{subject.network} on {subject.splits.name}: {len(subject.splits.train):,} training images")
    profiled = profile(subject.model, torch.zeros(1, *images.shape[1:]))
    show(profiled.table())
    return profiled


def _save(subject: Subject, pruned: nn.Module, narrowed: nn.Module, out: Path) -> Saved:
    fp32 = save(pruned, out / "compact.safetensors", metadata=subject.metadata)
    fp16 = save(pruned, out / "compact-fp16.safetensors", values="fp16", metadata=subject.metadata)
    structured = save(narrowed, out / "structured.safetensors", metadata=subject.metadata)
    differences = [_difference(subject, pruned, fp32.path), _difference(subject, narrowed, structured.path)]
    return Saved(fp32, fp16, structured, "; ".join(filter(None, differences)) or None)


def _difference(subject: Subject, model: nn.Module, path: Path) -> str | None:
    """Return how the network in ``path`` predicts otherwise in a fresh process; None where it does not."""
    images, _ = subject.splits.test.__getitems__(range(min(COMPARED, len(subject.splits.test))))
    predictions = path.with_name("predictions.safetensors")
    write_predictions(model, images, predictions)
    found = differs_in_fresh_process(path, predictions)
    return found and f"{path}: {found}"


def _test_accuracy(
    subject: Subject, pruned: nn.Module, narrowed: nn.Module, sparsity: float, seed: int
) -> dict[str, float]:
    """Return the five figures of the table; each reads the test images once."""
    models = {
        "dense": subject.model,
        "pruned": pruned,
        "structured": narrowed,
        "oneshot": methods.prune_at_once(subject.model, sparsity, "magnitude", seed),
        "random": methods.prune_at_once(subject.model, sparsity, "random", seed),
    }
    return {name: evaluate(model, subject.loaders.test) for name, model in models.items()}


def _record(  # noqa: PLR0917 - one argument a step
    request: Request,
    subject: Subject,
    profiled: Profile,
    pruned: nn.Module,
    narrowed: narrowing.Narrowed,
    saved: Saved,
    deployed: deploying.Deployed,
    accuracy: dict[str, float],
    curves: tuple[methods.Curve, ...],
    taught: Taught | None,
    clock: Clock,
) -> DemoRecord:
    return DemoRecord(
        network=subject.network,
        data=subject.splits.name,
        dense_accuracy=accuracy["dense"],
        pruned_accuracy=accuracy["pruned"],
        oneshot_accuracy=accuracy["oneshot"],
        random_accuracy=accuracy["random"],
        oneshot_finetuned_accuracy=None,
        sparsity=Masks.from_zeros(pruned).sparsity,
        params=count_params(subject.model, nonzero=False),
        nonzero=count_params(pruned),
        bytes_dense=saved.fp32.dense_bytes,
        bytes_compact=saved.fp32.file_bytes,
        compact_file=str(saved.fp32.path),
        test_examples=len(subject.splits.test),
        validation_examples=len(subject.splits.validation),
        bytes_compact_fp16=saved.fp16.file_bytes,
        structured_accuracy=accuracy["structured"],
        structured_params=count_params(narrowed.model, nonzero=False),
        structured_macs_ratio=narrowed.macs_ratio,
        structured_speedup=narrowed.speedup,
        structured_bytes=saved.structured.file_bytes,
        structured_file=str(saved.structured.path),
        structured_times=narrowed.times,
        widths=narrowed.widths,
        runtime_accuracy=deployed.accuracy,
        runtime_ms=deployed.runtime.median,
        onnxruntime_ms=deployed.onnxruntime.median,
        runtime_speedup_vs_onnxruntime=deployed.speedup,
        runtime_times=(deployed.onnxruntime, deployed.runtime),
        fw_bytes=deployed.file.stat().st_size,
        fw_file=str(deployed.file),
        seconds={**clock.seconds, "total": clock.total},
        epochs=request.epochs,
        seed=request.seed,
        machine=profiled.machine,
        identical_predictions=saved.difference is None,
        curves=curves,
        layers=pictures.layers(pruned),
        histograms=pictures.histograms(subject.model, pruned),
        codings=pictures.codings(saved.fp32.path),
        taught=taught,
    )


def _finish(record: DemoRecord, request: Request, clock: Clock) -> None:
    """Print the table, and write the page and the record."""
    page = request.out / "report.html"
    with clock.phase("report"):
        write_page(record, page)
    show(demo_table(record))
    if record.identical_predictions:
        count = min(COMPARED, record.test_examples)
        say(f"A fresh process predicts the same from both files: {count:,} test images, bit for bit.")
    say(f"compact file  {record.compact_file}\nfewer channels {record.structured_file}")
    say(f"page          {page}\ntotal         {clock.total:.0f} s")
    write_json(request.json, record.to_json())
    if request.json is not None:
        remark(f"record        {request.json}")
