"""``featherweight inspect --sensitivity``: what the width of each group is worth."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from featherweight.cli.batches import make_batches, try_out
from featherweight.cli.example import example_of
from featherweight.cli.network import fingerprint, make_network
from featherweight.cli.output import say, show, write_json
from featherweight.report import SensitivityRecord, WidthCurve, sensitivity_page, write_html
from featherweight.structured.sensitivity import Sensitivity, scan


@dataclass(frozen=True)
class Scan:
    """What is asked for; see ``featherweight inspect --help``."""

    model: str
    weights: Path | None
    data: str
    input_shape: str | None
    report: Path | None
    json: Path | None

    def noted(self, model: nn.Module) -> Path | None:
        """Return the file that an interrupted scan goes on from: beside that of --json."""
        if self.json is None:
            return None
        data = zlib.crc32(f"{self.data} {self.input_shape}".encode())
        return self.json.with_name(f".{self.json.name}.{fingerprint(model)}.{data:08x}.scan")


def show_sensitivity(asked: Scan) -> None:
    """Print the accuracy with each group cut alone, and write the page and the record that are asked for.

    Raises:
        SettingError: there is no input shape; or a setting is wrong.
        TraceError: torch.export cannot trace the network.
        DataError: the data are of another form, or do not fit.
    """
    model, batches = make_network(asked.model, asked.weights), make_batches(asked.data)
    try_out(model, batches, asked.data)
    example = example_of(asked.model, model, asked.input_shape, batches, "To trace the network")
    noted = asked.noted(model)
    found = scan(model, example, batches.validate, file=noted)
    show(found.table())
    worst = [group.name for group in found.by_sensitivity()[:3] if group.worst < found.whole]
    if worst:
        say(f"What costs most to cut: {', '.join(worst)}. --skip leaves it alone.")
    write_json(asked.json, {"model": asked.model} | json.loads(found.to_json()))
    if asked.report is not None:
        write_html(sensitivity_page(_record(asked.model, found)), asked.report)
    if noted is not None:
        noted.unlink(missing_ok=True)


def _record(model: str, found: Sensitivity) -> SensitivityRecord:
    return SensitivityRecord(
        model=model,
        metric=found.metric,
        whole=found.whole,
        examples=found.examples,
        criterion=found.criterion,
        keeps=found.keeps,
        curves=tuple(
            WidthCurve(
                group.name,
                group.units,
                kept=tuple(point.kept / group.units for point in group.points),
                scores=tuple(point.score for point in group.points),
            )
            for group in found.groups
        ),
        skipped=found.skipped,
    )
