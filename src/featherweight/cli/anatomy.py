"""What a network is made of: its weights, which would be pruned, and why the others are left alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import torch
from rich.markup import escape
from rich.table import Column, Table
from torch import nn

from featherweight.cli.network import make_network
from featherweight.cli.output import say, show
from featherweight.cli.resolve import is_factory
from featherweight.core.prunable import LeftAlone, find_prunable
from featherweight.errors import ModelError, SettingError
from featherweight.profile import Profile, profile
from featherweight.zoo import card_of


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


def show_network(spec: str, weights: Path | None, input_shape: str | None) -> dict[str, Any]:
    """Print what the network ``spec`` is made of, and return the record.

    Args:
        spec: "module:factory", "file.py:factory" or a name of the zoo.
        weights: a file to fill it with.
        input_shape: such as "1,1,28,28": measure it on such an input; networks of the zoo know theirs.
    """
    model = make_network(spec, weights)
    shape = input_shape_of(spec, model, input_shape)
    rows = weight_rows(model)
    record: dict[str, Any] = {"model": spec, "weights": [asdict(row) for row in rows]}
    record |= {"params": sum(r.numel for r in rows), "nonzeros": sum(r.nonzeros for r in rows)}
    record["prunable"] = sum(r.numel for r in rows if r.left_alone is None)
    show(_table(rows))
    if shape is None:
        say("MACs and milliseconds: give an input shape, such as --input-shape 1,3,224,224")
        return record
    profiled = _profile(model, shape)
    show(profiled.table())
    return record | {"profile": json.loads(profiled.to_json())}


def _profile(model: nn.Module, shape: tuple[int, ...]) -> Profile:
    try:
        return profile(model, torch.zeros(shape))
    except ModelError as error:
        raise ModelError(f"On an input of --input-shape {','.join(map(str, shape))}: {error}") from error


@overload
def input_shape_of(spec: str, model: nn.Module, text: str | None) -> tuple[int, ...] | None: ...
@overload
def input_shape_of(spec: str, model: nn.Module, text: str | None, purpose: str) -> tuple[int, ...]: ...
def input_shape_of(
    spec: str, model: nn.Module, text: str | None, purpose: str | None = None
) -> tuple[int, ...] | None:
    """Return the sizes of an input: those of ``text``, or those that a network of the zoo takes.

    Raises:
        SettingError: ``text`` is no list of sizes; or there is none, and ``purpose`` needs one.
    """
    if text is not None:
        return _parsed(text)
    if not is_factory(spec):
        return _zoo_shape(model)
    if purpose is not None:
        raise SettingError(f"{purpose}, give the sizes of an input, such as --input-shape 1,3,224,224.")
    return None


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


def _parsed(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise SettingError(
            f"--input-shape is sizes of at least 1 with commas, such as 1,1,28,28; got {text!r}."
        )
    return shape


def _zoo_shape(model: nn.Module) -> tuple[int, ...]:
    card = card_of(model)
    return (1, 3, 32, 32) if card is not None and card.in_channels == 3 else (1, 1, 28, 28)
