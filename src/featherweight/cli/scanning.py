"""What both scans of ``featherweight inspect --sensitivity`` share."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from featherweight.cli.batches import Batches, examples_of, make_batches, some_of, try_out
from featherweight.cli.network import fingerprint, make_network
from featherweight.cli.output import remark, say, write_json
from featherweight.errors import SettingError
from featherweight.report import WidthCurve, write_html

EXAMPLES = 2000
_WHERE = ("model", "weights", "report", "json")  # not how it is measured


@dataclass(frozen=True, kw_only=True)
class Scanning:
    """What is asked for; see ``featherweight inspect --help``.

    Attributes:
        examples: at least so many of the validation split are measured on; None: all.

    Raises:
        SettingError: a setting is wrong.
    """

    model: str
    weights: Path | None
    data: str
    criterion: str
    skip: tuple[str, ...]
    examples: int | None
    report: Path | None
    json: Path | None

    @staticmethod
    def common(asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what both scans take from a command as it is, by the names of its options."""
        return {
            "model": asked["what"],
            "skip": tuple(asked["skip"] or ()),
            "examples": examples_of(asked["examples"], EXAMPLES),
            **{name: asked[name] for name in ("weights", "data", "report", "json")},
        }

    def noted(self, model: nn.Module) -> Path:
        """Return the place that an interrupted scan goes on from: beside the file of --json, or here."""
        file = self.json or Path("sensitivity.json")
        settings = {name: value for name, value in vars(self).items() if name not in _WHERE}
        return file.with_name(
            f".{file.name}.{fingerprint(model)}.{zlib.crc32(repr(settings).encode()):08x}.scan"
        )

    def material(self) -> tuple[nn.Module, Batches]:
        """Return the network and its data, tried out; raises DataError if they do not fit."""
        model, batches = make_network(self.model, self.weights), make_batches(self.data)
        try_out(model, batches, self.data)
        return model, batches

    def part(self, batches: Batches) -> Any:
        """Return what of the validation split is measured on, and say so where it is not all."""
        part = some_of(batches.validate, self.examples)
        if part is not batches.validate:
            remark("Measured on a part of the validation split; --examples all takes all of it.")
        return part

    def leave(self, found: str, page: Callable[[], str]) -> None:
        """Write the record and the page that are asked for; ``found`` is the scan as JSON."""
        write_json(self.json, {"model": self.model} | json.loads(found))
        if self.report is not None:
            write_html(page(), self.report)


def fractions(text: str, form: str) -> tuple[float, ...]:
    """Return numbers with commas between; raises SettingError, beginning with ``form``, if they are none."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingError(f"{form}; got {text!r}.") from None


def say_worst(what: str, names: Iterable[str]) -> None:
    """Name the first three of what costs most, if anything does."""
    worst = [*dict.fromkeys(names)][:3]
    if worst:
        say(f"{what}: {', '.join(worst)}. `prune --skip NAME` leaves one alone.")


def curve_of(name: str, units: int, points: Iterable[tuple[int, float]]) -> WidthCurve:
    """Return the curve of a part of ``units``, of pairs of how many were kept and the score."""
    kept, scores = zip(*points, strict=True)
    return WidthCurve(name, units, kept=tuple(number / units for number in kept), scores=tuple(scores))
