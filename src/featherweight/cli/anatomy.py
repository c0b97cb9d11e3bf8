"""What a network is made of: its weights, which would be pruned, and why the others are left alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from rich.table import Column, Table
from torch import nn

from featherweight.cli.example import example_of
from featherweight.cli.network import make_network
from featherweight.cli.output import say, show
from featherweight.cli.resolve import is_factory
from featherweight.core.prunable import LeftAlone, find_prunable
from featherweight.profile import profile


@dataclass(frozen=True)
class WeightRow:
    """One parameter.

    Attributes:
        name: as in the state dict.
        shape: its sizes.
        numel: number of elements.
        nonzeros: of these, those that are not zero.
        left_alone: why it is not pruned; None: it is.
    """

    name: str
    shape: tuple[int, ...]
    numel: int
    nonzeros: int
    left_alone: str | None


def show_network(spec: str, weights: Path | None, input_shape: Sequence[str]) -> dict[str, Any]:
    """Print what the network ``spec`` is made of, and return the record.

    Args:
        spec: "module:factory", "file.py:factory" or a name of the zoo.
        weights: a file to fill it with.
        input_shape: such as ("1,1,28,28",): measure it on such inputs; networks of the zoo know theirs.
    """
    model = make_network(spec, weights)
    known = bool(input_shape) or not is_factory(spec)
    example = example_of(spec, model, input_shape, None, "To measure it") if known else None
    rows = weight_rows(model)
    record: dict[str, Any] = {"model": spec, "weights": [asdict(row) for row in rows]}
    record |= {"params": sum(r.numel for r in rows), "nonzeros": sum(r.nonzeros for r in rows)}
    record["prunable"] = sum(r.numel for r in rows if r.left_alone is None)
    show(_table(rows))
    if example is None:
        say(
            "MACs and milliseconds: give an input shape, such as --input-shape 1,3,224,224, or of token ids "
            "--input-shape 1,128:int64"
        )
        return record
    profiled = profile(model, example)
    show(profiled.table())
    return record | {"profile": json.loads(profiled.to_json())}


def weight_rows(model: nn.Module) -> list[WeightRow]:
    """Return a row for each parameter of ``model``; raises ModelError if none can be pruned."""
    prunable = find_prunable(model)
    reasons: dict[str, str | None] = {weight.name: None for weight in prunable.weights}
    reasons |= {left.name: left.reason for left in prunable.left_alone}
    return [
        WeightRow(name, tuple(p.shape), p.numel(), int(torch.count_nonzero(p.detach())), reasons[name])
        for name, p in model.named_parameters()
        if name in reasons
    ]


def left_alone_lines(left_alone: Iterable[LeftAlone]) -> list[str]:
    """Return a line for each reason, with the parameters that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for left in left_alone:
        by_reason.setdefault(left.reason, []).append(left.name)
    return [f"{reason}: {_some(names)}" for reason, names in by_reason.items()]


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _table(rows: list[WeightRow]) -> Table:
    right = [Column(title, justify="right") for title in ("shape", "elements", "nonzero")]
    table = Table("weight", *right, "pruned?")
    for row in rows:
        shape = "x".join(map(str, row.shape)) or "scalar"
        table.add_row(
            escape(row.name),
            shape,
            f"{row.numel:,}",
            f"{row.nonzeros:,}",
            escape(f"no: {row.left_alone}") if row.left_alone else "yes",
        )
    prunable = sum(row.numel for row in rows if row.left_alone is None)
    total, nonzeros = sum(row.numel for row in rows), sum(row.nonzeros for row in rows)
    table.add_section()
    table.add_row("total", "", f"{total:,}", f"{nonzeros:,}", f"{prunable:,} prunable", style="bold")
    return table
