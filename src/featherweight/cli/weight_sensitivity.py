"""``featherweight inspect --sensitivity --unstructured``: what zeros in each layer cost."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from featherweight.cli.batches import make_batches, some_of, try_out
from featherweight.cli.network import fingerprint, make_network
from featherweight.cli.output import remark, say, show, write_json
from featherweight.cli.sensitivity import number_of
from featherweight.errors import SettingError
from featherweight.report import WeightSensitivityRecord, WidthCurve, weight_sensitivity_page, write_html
from featherweight.sparsity.allocation.sensitivity import rising
from featherweight.sparsity.recipe import Recipe
from featherweight.sparsity.sensitivity import LEVELS, Sensitivity, sensitivity


@dataclass(frozen=True)
class WeightScan:
    """What is asked for; see ``featherweight inspect --help``.

    Attributes:
        examples: at least so many of the validation split are measured on; None: all.

    Raises:
        SettingError: a setting is wrong.
    """

    model: str
    weights: Path | None
    data: str
    levels: tuple[float, ...]
    criterion: str
    pattern: str
    skip: tuple[str, ...]
    examples: int | None
    report: Path | None
    json: Path | None

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> WeightScan:
        """Return the scan of a command, by the names of its options; None: not given."""
        criterion, pattern = asked["criterion"] or "magnitude", asked["pattern"] or "unstructured"
        Recipe(criterion=criterion, pattern=pattern)  # an unknown name is an answer before anything is made
        return cls(
            model=asked["what"],
            levels=_levels(asked["levels"]),
            criterion=criterion,
            pattern=pattern,
            skip=tuple(asked["skip"] or ()),
            examples=number_of(asked["examples"]),
            **{name: asked[name] for name in ("weights", "data", "report", "json")},
        )

    def noted(self, model: nn.Module) -> Path:
        """Return the folder that an interrupted scan goes on from: beside the file of --json, or here."""
        file = self.json or Path("sensitivity.json")
        settings = (self.data, self.levels, self.criterion, self.pattern, self.skip, self.examples)
        return file.with_name(
            f".{file.name}.{fingerprint(model)}.{zlib.crc32(repr(settings).encode()):08x}.scan"
        )


def _levels(text: str | None) -> tuple[float, ...]:
    if text is None:
        return LEVELS
    try:
        return rising(tuple(float(part) for part in text.split(",")))
    except ValueError:
        raise SettingError(
            f"--levels is fractions of a layer's weights with commas, such as 0.5,0.9; got {text!r}."
        ) from None


def show_weight_sensitivity(asked: WeightScan) -> None:
    """Print the accuracy with each layer pruned alone, and write the page and the record that are asked for.

    Raises:
        SettingError: a setting is wrong.
        DataError: the data are of another form, or do not fit.
    """
    model, batches = make_network(asked.model, asked.weights), make_batches(asked.data)
    try_out(model, batches, asked.data)
    noted = asked.noted(model)
    part = some_of(batches.validate, asked.examples)
    if part is not batches.validate:
        remark("Measured on a part of the validation split; --examples all takes all of it.")
    found = sensitivity(
        model, part, asked.levels,
        criterion=asked.criterion, pattern=asked.pattern, skip=asked.skip, run_dir=noted,
    )  # fmt: skip
    for table in found.tables():
        show(table)
    worst = [layer.name for layer in found.by_sensitivity() if layer.worst > found.whole_loss][:3]
    if worst:
        say(f"Zeros cost most in: {', '.join(worst)}. `prune --skip NAME` leaves one alone.")
    write_json(asked.json, {"model": asked.model} | json.loads(found.to_json()))
    if asked.report is not None:
        write_html(weight_sensitivity_page(_record(asked.model, found)), asked.report)
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
            WidthCurve(
                layer.name,
                layer.numel,
                kept=tuple(point.kept / layer.numel for point in layer.points),
                scores=tuple(point.score or 0.0 for point in layer.points),
            )
            for layer in found.layers
        ),
        losses=tuple(tuple(point.loss for point in layer.points) for layer in found.layers),
        skipped=found.left_alone,
    )
