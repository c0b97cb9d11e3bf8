"""``featherweight inspect --sensitivity --unstructured``: what zeros in each layer cost."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featherweight.cli.output import show
from featherweight.cli.scanning import Scanning, curve_of, fractions, say_worst
from featherweight.errors import SettingError
from featherweight.report import WeightSensitivityRecord, weight_sensitivity_page
from featherweight.sparsity.allocation.sensitivity import rising
from featherweight.sparsity.observing import learner_of
from featherweight.sparsity.recipe import Recipe
from featherweight.sparsity.sensitivity import LEVELS, Sensitivity, sensitivity


@dataclass(frozen=True, kw_only=True)
class WeightScan(Scanning):
    """What is asked for; see ``featherweight inspect --help``."""

    levels: tuple[float, ...]
    pattern: str

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> WeightScan:
        """Return the scan of a command, by the names of its options; None: not given."""
        criterion, pattern = asked["criterion"] or "magnitude", asked["pattern"] or "unstructured"
        Recipe(criterion=criterion, pattern=pattern)  # an unknown name is an answer before anything is made
        if learner_of(criterion) is not None:
            raise SettingError(
                f"--criterion {criterion} learns while a network trains: a scan trains nothing."
            )
        levels = _levels(asked["levels"])
        return cls(criterion=criterion, pattern=pattern, levels=levels, **cls.common(asked))


def _levels(text: str | None) -> tuple[float, ...]:
    if text is None:
        return LEVELS
    return rising(fractions(text, "--levels is fractions of a layer's weights with commas, such as 0.5,0.9"))


def show_weight_sensitivity(asked: WeightScan) -> None:
    """Print the accuracy with each layer pruned alone, and write the page and the record that are asked for.

    Raises:
        SettingError: a setting is wrong.
        DataError: the data are of another form, or do not fit.
    """
    model, batches = asked.material()
    noted = asked.noted(model)
    found = sensitivity(
        model, asked.part(batches), asked.levels,
        criterion=asked.criterion, pattern=asked.pattern, skip=asked.skip, run_dir=noted,
    )  # fmt: skip
    for table in found.tables():
        show(table)
    costly = (layer.name for layer in found.by_sensitivity() if layer.worst > found.whole_loss)
    say_worst("Zeros cost most in", costly)
    asked.leave(found.to_json(), lambda: weight_sensitivity_page(_record(asked.model, found)))
    shutil.rmtree(noted, ignore_errors=True)


def _record(model: str, found: Sensitivity) -> WeightSensitivityRecord:
    if found.metric is None or found.whole is None:
        raise SettingError("The page shows accuracy, and the outputs are not those of a classifier.")
    return WeightSensitivityRecord(
        model=model,
        metric=found.metric,
        whole=found.whole,
        whole_loss=found.whole_loss,
        examples=found.examples,
        criterion=found.criterion,
        pattern=found.pattern,
        levels=found.levels,
        curves=tuple(
            curve_of(layer.name, layer.numel, ((p.kept, p.score or 0.0) for p in layer.points))
            for layer in found.layers
        ),
        losses=tuple(tuple(point.loss for point in layer.points) for layer in found.layers),
        skipped=found.left_alone,
    )
