"""The three ways of pruning that the demo compares, and the check that each of them pruned."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from featherweight.cli.demo.subject import Subject
from featherweight.cli.failures import CheckFailed
from featherweight.cli.network import fingerprint
from featherweight.core.masks import Masks
from featherweight.profile import evaluate
from featherweight.report import Curve
from featherweight.sparsity import prune
from featherweight.sparsity.progressive import FINE_TUNING, progressive_prune
from featherweight.training.records import METRICS

LEVELS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Progressive:
    """The network pruned while fine-tuning, and a record an epoch."""

    model: nn.Module
    epochs: tuple[dict[str, Any], ...]


def prune_progressively(subject: Subject, sparsity: float, epochs: int, seed: int, runs: Path) -> Progressive:
    """Prune a copy while fine-tuning it; an interrupted run of the same settings in ``runs`` is resumed."""
    settings = replace(FINE_TUNING, epochs=epochs, seed=seed)
    name = f"{subject.network}-{subject.splits.name}-{sparsity}-{epochs}-{seed}-{fingerprint(subject.model)}"
    model = progressive_prune(
        subject.model,
        sparsity,
        train=subject.loaders.train,
        validate=subject.loaders.validate,
        settings=settings,
        run_dir=runs / name,
    )
    check_pruned(model, sparsity, "progressive pruning")
    lines = (runs / name / METRICS).read_text().splitlines()
    return Progressive(model.eval(), tuple(json.loads(line) for line in lines))


def prune_at_once(model: nn.Module, sparsity: float, criterion: str, seed: int) -> nn.Module:
    """Return a copy of ``model`` pruned in one step, without any training."""
    pruned = copy.deepcopy(model)
    prune(pruned, sparsity, criterion=criterion, seed=seed)
    check_pruned(pruned, sparsity, f"pruning by {criterion}")
    return pruned.eval()


def check_pruned(model: nn.Module, sparsity: float, what: str) -> None:
    """Raise CheckFailed if more of the prunable weights are left than ``sparsity`` allows."""
    masks = Masks.from_zeros(model)
    allowed = round((1 - sparsity) * masks.numel)
    if masks.kept > allowed:
        raise CheckFailed(
            f"after {what} {masks.kept:,} of {masks.numel:,} weights are not zero; at sparsity {sparsity} at "
            f"most {allowed:,} may be."
        )


def curves(subject: Subject, progressive: Progressive, sparsity: float, seed: int) -> tuple[Curve, ...]:
    """Return validation accuracy against the fraction of weights kept, for the three methods."""
    dense = evaluate(subject.model, subject.loaders.validate)
    levels = sorted({*LEVELS, sparsity})
    at_once = [
        _at_once(subject, dense, levels, criterion="magnitude", label="one-shot, no fine-tuning", seed=seed),
        _at_once(subject, dense, levels, criterion="random", label="random, no fine-tuning", seed=seed),
    ]
    kept = [1.0, *(1 - epoch["sparsity"] for epoch in progressive.epochs)]
    accuracy = [dense, *(epoch["validation"] for epoch in progressive.epochs)]
    note = "the dense network, then one point per epoch of the same run"
    return (_curve(subject, "progressive, while fine-tuning", kept, accuracy, note), *at_once)


def _at_once(
    subject: Subject, dense: float, levels: Sequence[float], *, criterion: str, label: str, seed: int
) -> Curve:
    pruned = [prune_at_once(subject.model, level, criterion, seed) for level in levels]
    accuracy = [evaluate(model, subject.loaders.validate) for model in pruned]
    note = "the dense network, then one pruned copy per point, as it is after pruning"
    return _curve(subject, label, [1.0, *(1 - level for level in levels)], [dense, *accuracy], note)


def _curve(
    subject: Subject, label: str, kept: Sequence[float], accuracy: Sequence[float], note: str
) -> Curve:
    return Curve(label, tuple(kept), tuple(accuracy), "validation", len(subject.splits.validation), note)
