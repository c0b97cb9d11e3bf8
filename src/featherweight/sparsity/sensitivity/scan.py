"""How much each layer's sparsity costs: the network with that layer alone pruned, to several levels.

Scans of this kind are as old as Han, Pool, Tran, Dally 2015, https://arxiv.org/abs/1506.02626. Nothing is
trained, so these are lower bounds: what drops here may come back with fine-tuning. Costs of layers that are
pruned together do not add up exactly.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.batches import Loss
from featherweight.core.fingerprint import fingerprint
from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.core.prunable import Prunable, PrunableWeight, find_prunable, unwrap
from featherweight.errors import ResumeError
from featherweight.sparsity.allocation.sensitivity import LEVELS, rising
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.criteria import Context, Criterion, criteria
from featherweight.sparsity.measuring import Measured, can_take, measure, zeroed
from featherweight.sparsity.patterns import Pattern, row_pattern
from featherweight.sparsity.recipe import Recipe
from featherweight.sparsity.sensitivity.log import ScanLog
from featherweight.sparsity.sensitivity.progress import ScanProgress
from featherweight.sparsity.sensitivity.result import LayerScores, Level, Sensitivity
from featherweight.training.objective import Metric, accuracy

__all__ = ["LEVELS", "sensitivity"]

_WHOLE = ""  # stands for a layer in the log: the network as it is


def sensitivity(
    model: nn.Module,
    data: Any,
    levels: Sequence[float] = LEVELS,
    *,
    criterion: str | Criterion = "magnitude",
    pattern: str | Pattern = "unstructured",
    metric: Metric | None = None,
    loss: Loss | None = None,
    batches: int | None = None,
    skip: Sequence[str] = (),
    seed: int = 0,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Sensitivity:
    """Return the loss and the accuracy of ``model`` with each layer alone pruned, to several sparsities.

    It takes ``layers * levels + 1`` passes over the data.

    Args:
        model: the trained network, wrapped (DDP, torch.compile) or not; it is as before afterwards, also
            after Ctrl-C.
        data: batches ``(inputs, targets)``, or mappings with "labels", of the validation split, never of the
            test split: one chooses by what is seen here. Or a callable ``model -> iterable of losses``.
        levels: sparsities of a layer, each between 0 and 1.
        criterion: how much a weight matters; one that looks at data looks at these. Scored once.
        pattern: the shapes that zeros may have.
        metric: ``(outputs, targets) -> (sum, count)``, whose quotient is the score; None: accuracy, where the
            outputs are those of a classifier.
        loss: ``(outputs, targets) -> scalar``; None: cross-entropy, or the model's own.
        batches: how many to measure on at most, read once and held; None: all, read again each time.
        skip: names or patterns of parameters and modules that are not scanned.
        seed: seed of everything random.
        run_dir: folder for ``sensitivity.jsonl``, a line a measurement; an interrupted scan in it goes on.
        progress: show how far it is, on stderr.

    Raises:
        SettingError: a setting is wrong, there are no data, or the pattern does not allow so little sparsity.
        ModelError: there is nothing to prune, or a loss is not finite.
        ResumeError: ``run_dir`` holds the scan of another network, or one with other settings.
    """
    levels, prunable = rising(tuple(levels)), find_prunable(model, skip)
    recipes = [Recipe(level, criterion, pattern=pattern, skip=skip, seed=seed) for level in levels]
    for recipe in recipes:
        recipe.check_reachable(_nothing_pruned(prunable), prunable)
    held = Calibration.of(data, loss, wanted_by="fw.sensitivity")
    if batches is not None or isinstance(held.source, Iterator):
        held = held.held(batches)
    if metric is None and can_take(accuracy, model, held):
        metric = accuracy
    found = _Scan(unwrap(model), held, metric, batches, prunable, pattern)
    log = ScanLog(run_dir, found.settings(criterion, levels, seed))
    whole = found.whole(log)
    scores = found.scores(criterion, seed)
    layers: list[LayerScores] = []
    with ScanProgress(progress, len(prunable.weights) * len(levels)) as shown:
        for weight in prunable.weights:
            points = [found.level(weight, scores[weight.name], level, log, shown) for level in levels]
            layers.append(LayerScores(weight.name, weight.tensor.numel(), tuple(points)))
            shown.layer_done(layers[-1])
    return Sensitivity(
        metric=None if metric is None else _name(metric),
        whole_loss=whole.loss,
        whole=whole.score,
        examples=whole.examples,
        criterion=_name(criterion),
        pattern=_name(pattern),
        levels=levels,
        layers=tuple(layers),
        left_alone=tuple(item.name for item in prunable.left_alone if item.reason.startswith("skipped")),
    )


@dataclass(frozen=True, eq=False)
class _Scan:
    """The network, and how it is measured."""

    model: nn.Module
    data: Calibration
    metric: Metric | None
    batches: int | None
    prunable: Prunable
    pattern: str | Pattern

    def settings(self, criterion: str | Criterion, levels: Sequence[float], seed: int) -> dict[str, Any]:
        """Return what tells one scan from another, as JSON has it."""
        return {
            "format": "featherweight.sensitivity.1",
            "network": fingerprint(self.model),
            "layers": [weight.name for weight in self.prunable.weights],
            "levels": list(levels),
            "criterion": _name(criterion),
            "pattern": _name(self.pattern),
            "metric": None if self.metric is None else _name(self.metric),
            "batches": self.batches,
            "seed": seed,
        }

    def scores(self, criterion: str | Criterion, seed: int) -> Mapping[str, Tensor]:
        """Return the scores of all weights, with the network whole."""
        chosen = criteria[criterion] if isinstance(criterion, str) else criterion
        weights = {w.name: w.tensor.detach() for w in self.prunable.weights}
        return chosen(weights, Context(self.model, self.data, seed))

    def whole(self, log: ScanLog) -> Measured:
        """Measure the network as it is; raises ResumeError if the log has something else."""
        found = self._measured()
        if (_WHOLE, 0.0) not in log:
            log.add(_WHOLE, 0.0, asdict(found))
        noted = log[_WHOLE, 0.0]
        if noted["examples"] != found.examples or not math.isclose(noted["loss"], found.loss, rel_tol=1e-3):
            raise ResumeError(
                f"The whole network has loss {found.loss:.6g} on {found.examples} examples; in run_dir it "
                f"had {noted['loss']:.6g} on {noted['examples']}: that scan is of other data. Give another."
            )
        return Measured(noted["loss"], noted["score"], noted["examples"])

    def level(
        self, weight: PrunableWeight, scores: Tensor, level: float, log: ScanLog, shown: ScanProgress
    ) -> Level:
        """Measure the network with one layer pruned."""
        if (weight.name, level) not in log:
            mask = self._mask(weight, scores, level)
            with zeroed(weight.tensor, mask.keep):
                found = self._measured()
            log.add(weight.name, level, {"kept": mask.kept, "loss": found.loss, "score": found.score})
            shown.measured()
        noted = log[weight.name, level]
        shown.advance()
        return Level(level, noted["kept"], noted["loss"], noted["score"])

    def _measured(self) -> Measured:
        return measure(self.model, self.data, self.metric, self.batches)

    def _mask(self, weight: PrunableWeight, scores: Tensor, level: float) -> Mask:
        """Return the mask that ``fw.prune`` makes of this layer alone; what must stay is kept."""

        def given(weights: Mapping[str, Tensor], context: Context) -> Mapping[str, Tensor]:
            return {weight.name: scores}

        size, outputs = weight.tensor.numel(), weight.tensor.shape[weight.output_dim]
        floor = (outputs if weight.is_output else 1) * row_pattern(self.pattern).granularity
        sparsity = min(level, 1 - min(floor, size) / size)
        recipe = Recipe(level, given, pattern=self.pattern)
        return recipe.masks(self.model, Prunable((weight,), ()), sparsity)[weight.name]


def _nothing_pruned(prunable: Prunable) -> Masks:
    return Masks({w.name: Mask(torch.ones_like(w.tensor, dtype=torch.bool)) for w in prunable.weights})


def _name(choice: Any) -> str:
    """Return a name that is the same in every process."""
    if isinstance(choice, str):
        return choice
    return getattr(choice, "__name__", None) or re.sub(r" at 0x[0-9a-fA-F]+", "", repr(choice))
