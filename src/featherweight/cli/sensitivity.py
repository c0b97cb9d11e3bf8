"""``featherweight inspect --sensitivity``: what the width of each group is worth."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from featherweight.cli.batches import make_batches, some_of, try_out
from featherweight.cli.example import example_of
from featherweight.cli.network import fingerprint, make_network
from featherweight.cli.output import remark, say, show, write_json
from featherweight.errors import SettingError
from featherweight.report import SensitivityRecord, WidthCurve, sensitivity_page, write_html
from featherweight.structured.choose import Selecting
from featherweight.structured.selection import Floors
from featherweight.structured.sensitivity import KEEPS, Sensitivity, falling, scan

EXAMPLES = 2000
_PLACE = re.compile(r"(\[\d+\])?( #\d+)?$")  # in a group's name, behind that of its parameter


@dataclass(frozen=True)
class Scan:
    """What is asked for; see ``featherweight inspect --help``.

    Attributes:
        examples: at least so many of the validation split are measured on; None: all.

    Raises:
        SettingError: a setting is wrong.
    """

    model: str
    weights: Path | None
    data: str
    input_shape: tuple[str, ...]
    keeps: tuple[float, ...]
    criterion: str
    skip: tuple[str, ...]
    examples: int | None
    report: Path | None
    json: Path | None

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Scan:
        """Return the scan of a command, by the names of its options; None: not given."""
        criterion = asked["criterion"] or "l2"
        Selecting(criterion, "group", (), Floors())  # an unknown name is an answer before anything is made
        return cls(
            model=asked["what"],
            input_shape=tuple(asked["input_shape"] or ()),
            keeps=_keeps(asked["keeps"]),
            criterion=criterion,
            skip=tuple(asked["skip"] or ()),
            examples=number_of(asked["examples"]),
            **{name: asked[name] for name in ("weights", "data", "report", "json")},
        )

    def noted(self, model: nn.Module) -> Path:
        """Return the file that an interrupted scan goes on from: beside that of --json, or here."""
        file = self.json or Path("sensitivity.json")
        settings = (self.data, self.input_shape, self.keeps, self.criterion, self.skip, self.examples)
        return file.with_name(
            f".{file.name}.{fingerprint(model)}.{zlib.crc32(repr(settings).encode()):08x}.scan"
        )


def _keeps(text: str | None) -> tuple[float, ...]:
    if text is None:
        return KEEPS
    try:
        return falling([float(part) for part in text.split(",")])
    except ValueError:
        raise SettingError(
            f"--keeps is fractions of a group's units with commas, such as 0.5,0.25; got {text!r}."
        ) from None


def number_of(text: str | None) -> int | None:
    """Return what ``--examples`` asks for; None: all. Raises SettingError if that is no number."""
    if text is None:
        return EXAMPLES
    if text != "all" and not (text.isdecimal() and int(text)):
        raise SettingError(f"--examples is a number of examples, at least 1, or all; got {text!r}.")
    return None if text == "all" else int(text)


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
    part = some_of(batches.validate, asked.examples)
    if part is not batches.validate:
        remark("Measured on a part of the validation split; --examples all takes all of it.")
    found = scan(
        model, example, part, keeps=asked.keeps, criterion=asked.criterion, skip=asked.skip, file=noted
    )
    show(found.table())
    costly = [group.name for group in found.by_sensitivity() if group.worst < found.whole]
    worst = [*dict.fromkeys(_PLACE.sub("", name) for name in costly)][:3]
    if worst:
        say(f"What costs most to cut: {', '.join(worst)}. `prune --skip NAME` leaves one alone.")
    write_json(asked.json, {"model": asked.model} | json.loads(found.to_json()))
    if asked.report is not None:
        write_html(sensitivity_page(_record(asked.model, found)), asked.report)
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
