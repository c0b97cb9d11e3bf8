"""``featherweight inspect --sensitivity``: what the width of each group is worth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featherweight.cli.example import example_of
from featherweight.cli.output import show
from featherweight.cli.scanning import Scanning, curve_of, fractions, say_worst
from featherweight.errors import SettingError
from featherweight.report import SensitivityRecord, sensitivity_page
from featherweight.structured.choose import Selecting
from featherweight.structured.selection import Floors
from featherweight.structured.sensitivity import KEEPS, Sensitivity, falling, scan

_PLACE = re.compile(r"(\[\d+\])?( #\d+)?$")  # in a group's name, behind that of its parameter


@dataclass(frozen=True, kw_only=True)
class Scan(Scanning):
    """What is asked for; see ``featherweight inspect --help``."""

    input_shape: tuple[str, ...]
    keeps: tuple[float, ...]

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Scan:
        """Return the scan of a command, by the names of its options; None: not given."""
        criterion = asked["criterion"] or "l2"
        Selecting(criterion, "group", (), Floors())  # an unknown name is an answer before anything is made
        return cls(
            criterion=criterion,
            input_shape=tuple(asked["input_shape"] or ()),
            keeps=_keeps(asked["keeps"]),
            **cls.common(asked),
        )


def _keeps(text: str | None) -> tuple[float, ...]:
    if text is None:
        return KEEPS
    form = "--keeps is fractions of a group's units with commas, such as 0.5,0.25"
    try:
        return falling([*fractions(text, form)])
    except SettingError:
        raise SettingError(f"{form}; got {text!r}.") from None


def show_sensitivity(asked: Scan) -> None:
    """Print the accuracy with each group cut alone, and write the page and the record that are asked for.

    Raises:
        SettingError: there is no input shape; or a setting is wrong.
        TraceError: torch.export cannot trace the network.
        DataError: the data are of another form, or do not fit.
    """
    model, batches = asked.material()
    example = example_of(asked.model, model, asked.input_shape, batches, "To trace the network")
    noted = asked.noted(model)
    found = scan(
        model, example, asked.part(batches),
        keeps=asked.keeps, criterion=asked.criterion, skip=asked.skip, file=noted,
    )  # fmt: skip
    show(found.table())
    costly = (group.name for group in found.by_sensitivity() if group.worst < found.whole)
    say_worst("What costs most to cut", (_PLACE.sub("", name) for name in costly))
    asked.leave(found.to_json(), lambda: sensitivity_page(_record(asked.model, found)))
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
            curve_of(group.name, group.units, ((p.kept, p.score) for p in group.points))
            for group in found.groups
        ),
        skipped=found.skipped,
    )
