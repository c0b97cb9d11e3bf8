"""Time network files against each other."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Column, Table

from featherweight.artifact import replacing
from featherweight.cli.output import remark, show, write_json
from featherweight.engines import REST, InputSpec, Loaded, Spread, engines, in_turns
from featherweight.errors import ArtifactError, SettingError

OWN = "featherweight"


@dataclass(frozen=True)
class Side:
    """A file and the engine that runs it."""

    file: Path
    engine: str

    @property
    def title(self) -> str:
        """Its name in tables."""
        return f"{self.file.name}, {engines[self.engine].title}"


@dataclass(frozen=True)
class Comparison:
    """What is compared; see ``featherweight bench --help``.

    Attributes:
        sides: the first is what the others are compared with.
        threads: numbers of them, one comparison each.
        batch: where a network takes any.
        seconds: of measuring, each.
    """

    sides: tuple[Side, ...]
    threads: tuple[int, ...]
    batch: int
    seconds: float

    @classmethod
    def of(
        cls, files: Sequence[Path], against: str | None, threads: str, batch: int, seconds: float
    ) -> Comparison:
        """Return what is asked for.

        Raises:
            SettingError: nothing runs one of the files, or a number of threads is none.
            UnknownNameError: there is no such engine.
            ArtifactError: there is no such file.
        """
        wanted = _installed() if against is None else tuple(name.strip() for name in against.split(","))
        sides = tuple(Side(file, engine) for file in files for engine in _engines_for(file, wanted))
        numbers = [text.strip() for text in threads.split(",")]
        if not all(text.isdecimal() and int(text) for text in numbers):
            raise SettingError(
                f"--threads is one or more numbers of at least 1, such as 1,2; got {threads!r}."
            )
        return cls(sides, tuple(map(int, numbers)), batch, seconds)


def run_comparison(asked: Comparison, plot: Path | None, json_file: Path | None) -> None:
    """Measure, print, and write what is asked for.

    Raises:
        SettingError: two networks take inputs of different sizes.
    """
    records = [_measured(asked, threads) for threads in asked.threads]
    for record in records:
        show(_table(record))
    write_json(json_file, {"machine": _machine(asked), "comparisons": records})
    if plot is not None:
        from featherweight.report.plots import milliseconds

        with replacing(plot, "w") as file:
            file.write(milliseconds(records))


def _measured(asked: Comparison, threads: int) -> dict[str, Any]:
    loaded = {side.title: engines[side.engine].load(side.file, threads) for side in asked.sides}
    arrays = _inputs(loaded, asked.batch)
    outputs = {title: [np.array(o) for o in network.run(arrays)] for title, network in loaded.items()}
    runs = {title: partial(network.run, arrays) for title, network in loaded.items()}
    times = in_turns(runs, seconds=asked.seconds, rest=REST if threads > 1 else 0.0)
    first = next(iter(times))
    return {
        "threads": threads,
        "batch": arrays[0].shape[0] if arrays and arrays[0].ndim else 1,
        "inputs": [list(array.shape) for array in arrays],
        "rows": [
            {"side": title, "milliseconds": asdict(spread), "ratio": spread.median / times[first].median}
            | {"difference": _difference(outputs[first], outputs[title])}
            for title, spread in times.items()
        ],
    }


def _inputs(loaded: dict[str, Loaded], batch: int) -> list[Any]:
    """Return noise that all networks take."""
    (first, network), *others = loaded.items()
    arrays = [spec.example(np.random.default_rng(0), batch) for spec in network.inputs]
    for title, other in others:
        if len(other.inputs) != len(arrays) or not all(map(_takes, other.inputs, arrays)):
            raise SettingError(
                f"{first} takes {[a.shape for a in arrays]}, {title} {[s.shape for s in other.inputs]}: only "
                f"networks that take the same inputs can be compared."
            )
    return arrays


def _takes(spec: InputSpec, array: Any) -> bool:
    same = len(spec.shape) == array.ndim and spec.dtype == str(array.dtype)
    return same and all(size in (None, given) for size, given in zip(spec.shape, array.shape, strict=True))


def _difference(expected: list[Any], got: list[Any]) -> float | None:
    """Return the largest difference as a fraction of the largest output; None where shapes differ."""
    if [a.shape for a in expected] != [b.shape for b in got]:
        return None
    pairs = [(a, b) for a, b in zip(expected, got, strict=True) if a.size]
    return max((float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) for a, b in pairs), default=0.0)


def _table(record: dict[str, Any]) -> Table:
    title = f"batch {record['batch']}, {record['threads']} thread(s), fp32; median [quartiles] in turns"
    numbers = [Column(name, justify="right") for name in ("ms", "times the first", "runs", "difference")]
    table = Table("network", *numbers, title=escape(title), title_justify="left")
    for row in record["rows"]:
        spread = Spread(**row["milliseconds"])
        difference = "other shapes" if row["difference"] is None else f"{row['difference']:.1e}"
        table.add_row(escape(row["side"]), str(spread), f"{row['ratio']:.2f}x", str(spread.calls), difference)
    return table


def _engines_for(file: Path, wanted: Sequence[str]) -> list[str]:
    if not file.is_file():
        raise ArtifactError(f"{str(file)!r}: there is no such file.")
    if file.suffix in engines[OWN].suffixes:
        return [OWN]
    found = [name for name in wanted if file.suffix in engines[name].suffixes]
    if not found:
        suffixes = sorted({suffix for name in engines for suffix in engines[name].suffixes})
        raise SettingError(
            f"{str(file)!r} is run by none of {', '.join(wanted) or 'no engine'}: files end in "
            f"{', '.join(suffixes)}; --against names the engines, which must be installed."
        )
    return found


def _installed() -> tuple[str, ...]:
    found = tuple(name for name in engines if name != OWN and importlib.util.find_spec(name) is not None)
    missing = [name for name in engines if name not in (OWN, *found)]
    if missing:
        remark(f"Not installed, and not compared with: {', '.join(missing)}.")
    return found


def _machine(asked: Comparison) -> dict[str, Any]:
    used = {side.engine for side in asked.sides}
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {name: engines[name].version() for name in sorted(used)},
        "precision": "fp32",
    }
