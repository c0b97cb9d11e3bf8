"""``featherweight inspect --groups``: which layers move together, and why a layer is frozen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Column, Table

from featherweight.cli.example import example_of, shapes_of
from featherweight.cli.network import make_network
from featherweight.cli.output import say, show
from featherweight.core.trace import trace
from featherweight.structured.axes import Frozen, Tracing, trace_axes
from featherweight.structured.groups import Group, find_groups

MOST = 6  # places or tensors that are named in a line


def show_groups(spec: str, weights: Path | None, input_shape: Sequence[str]) -> dict[str, Any]:
    """Print the groups of the network ``spec`` and what is frozen; return the record.

    Raises:
        SettingError: no input shape is given, and the network is not of the zoo; or it does not fit.
        TraceError: torch.export cannot trace the network.
    """
    model = make_network(spec, weights)
    example = example_of(spec, model, input_shape, None, "To trace the network")
    tracing = trace_axes(trace(model, example))
    groups = find_groups(tracing)
    show(_table(spec, groups))
    for line in frozen_lines(tracing.frozen):
        say(line)
    for line in _unknown(tracing):
        say(line)
    return {
        "model": spec,
        "input_shape": shapes_of(example),
        "groups": [
            {"name": g.name, "units": len(g), "places": [f"{p.tensor}[{p.dim}]" for p in g.places]}
            for g in groups
        ],
        "frozen": [
            {"place": f"{f.place.tensor}[{f.place.dim}]", "size": f.size, "why": [str(w) for w in f.reasons]}
            for f in tracing.frozen
        ],
    }


def frozen_lines(frozen: Iterable[Frozen]) -> list[str]:
    """Return a line for each reason, with the dimensions that cannot be cut for it."""
    by_reason: dict[str, list[str]] = {}
    for entry in frozen:
        reason = str(next(iter(entry.reasons), "nothing says why"))
        by_reason.setdefault(reason, []).append(f"{entry.place.tensor}[{entry.place.dim}]")
    return [f"cannot be cut, {reason}: {_some(places)}" for reason, places in by_reason.items()]


def _table(spec: str, groups: Iterable[Group]) -> Table:
    counts = (Column("units", justify="right"), Column("indices a unit", justify="right"))
    names = [Column(title, overflow="fold") for title in ("group", "cut together in (dimension)")]
    table = Table(names[0], *counts, names[1], title=escape(spec), title_justify="left")
    for group in groups:
        dims: dict[str, list[int]] = {}
        for place in group.places:
            dims.setdefault(place.tensor, []).append(place.dim)
        places = [f"{tensor} ({', '.join(map(str, found))})" for tensor, found in dims.items()]
        a_unit = str(group.indices[0].shape[1])
        table.add_row(escape(group.name), f"{len(group):,}", a_unit, escape(_some(places)))
    return table


def _unknown(tracing: Tracing) -> list[str]:
    ops: dict[str, list[str]] = {}
    for call in tracing.unknown:
        ops.setdefault(call.op, []).append(call.module or "the network itself")
    return [f"no rule for {op}, in {_some(list(dict.fromkeys(places)))}" for op, places in ops.items()]


def _some(names: list[str]) -> str:
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")
