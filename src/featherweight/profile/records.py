"""What ``profile`` returns: a row a layer, totals, and the latency with its spread."""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Column, Table


@dataclass(frozen=True)
class Latency:
    """Time of a forward pass.

    Attributes:
        median: milliseconds.
        low: first quartile, milliseconds.
        high: third quartile, milliseconds.
        repeats: passes that were timed.
    """

    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latency:
        """Return median and quartiles of at least two times."""
        low, median, high = statistics.quantiles(milliseconds, n=4, method="inclusive")
        return cls(median, low, high, len(milliseconds))


@dataclass(frozen=True)
class LayerProfile:
    """One module that has parameters or buffers of its own or multiplies.

    Attributes:
        name: its path in the model; "" for the model itself.
        kind: its class.
        params: parameters, a tied one counted where it comes first.
        nonzeros: those that are not zero.
        macs: multiply-accumulates of one forward pass of the whole batch, zeros included.
        bytes: of its parameters and buffers, dense.
        latency: of its forward pass, timed in place; None for a module with others inside.
    """

    name: str
    kind: str
    params: int
    nonzeros: int
    macs: int
    bytes: int
    latency: Latency | None


@dataclass(frozen=True)
class Profile:
    """Size, work and time of a network; ``print`` shows a table.

    Attributes:
        layers: a row a layer, in the order of the model's modules.
        latency: of the whole forward pass, timed without the rows' hooks.
        batch: first dimension of the example inputs.
        machine: processor, threads, torch version.
        uncounted: operators that may multiply and are not known, such as those of quantised layers; they
            count no MACs.
    """

    layers: tuple[LayerProfile, ...]
    latency: Latency
    batch: int
    machine: dict[str, str]
    uncounted: tuple[str, ...] = ()

    @property
    def params(self) -> int:
        """Number of parameters."""
        return sum(layer.params for layer in self.layers)

    @property
    def nonzeros(self) -> int:
        """Number of parameters that are not zero."""
        return sum(layer.nonzeros for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole batch, zeros included."""
        return sum(layer.macs for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Bytes of parameters and buffers, dense."""
        return sum(layer.bytes for layer in self.layers)

    def to_json(self) -> str:
        """Return everything as a JSON object, totals included."""
        totals = {n: getattr(self, n) for n in ("params", "nonzeros", "macs", "bytes")}
        return json.dumps(asdict(self) | {"totals": totals}, indent=1)

    def table(self) -> Table:
        """Return the table that ``print`` shows."""
        table = Table("layer", "kind", *_right("params", "nonzero", "MACs", "bytes", "ms"))
        for layer in self.layers:
            table.add_row(layer.name or "(model)", layer.kind, *_cells(layer, layer.latency))
        table.add_section()
        table.add_row("total", f"batch {self.batch}", *_cells(self, self.latency), style="bold")
        about = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        spread = f"{self.latency.low:.2f}-{self.latency.high:.2f} ms (quartiles of {self.latency.repeats})"
        missing = f"; MACs not counted: {', '.join(self.uncounted)}" if self.uncounted else ""
        table.caption = f"total {spread}; {about}{missing}"
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=118).print(self.table())
        return text.getvalue().rstrip()


def _right(*titles: str) -> list[Column]:
    return [Column(title, justify="right") for title in titles]


def _cells(row: LayerProfile | Profile, latency: Latency | None) -> list[str]:
    counts = [f"{value:,}" if value else "" for value in (row.params, row.nonzeros, row.macs, row.bytes)]
    return [*counts, f"{latency.median:.3f}" if latency else ""]
