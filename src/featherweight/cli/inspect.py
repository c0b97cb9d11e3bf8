"""``featherweight inspect``: what is in a file, or what of a network would be pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from featherweight.cli import output
from featherweight.cli.failures import resumable
from featherweight.cli.resolve import is_factory
from featherweight.errors import SettingError


def inspect(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|MODULE:FACTORY",
            help="A .safetensors file, module:factory, file.py:factory, or a network of the zoo.",
        ),
    ],
    *,
    weights: Annotated[Path | None, typer.Option(help="Safetensors file to fill the network with.")] = None,
    input_shape: Annotated[
        str | None, typer.Option(metavar="N,C,H,W", help="Measure the network on an input of this shape.")
    ] = None,
    groups: Annotated[
        bool, typer.Option("--groups", help="Show which layers are cut together, and why others cannot be.")
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Show the accuracy with each group cut alone; needs --data."),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FACTORY",
            help="Returns (train, validate[, test]) loaders, or a data set of the zoo; with --sensitivity "
            "only: it is measured on validate.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page with curves; with --sensitivity only."),
    ] = None,
    json: output.JsonOption = None,
) -> None:
    """Show the tensors of a file, or the weights of a network.

    With --groups: which of its layers go together; with --sensitivity: what the width of each is worth.
    """
    output.check_target(json, "--json")
    output.check_target(report, "--report")
    if _is_file(what):
        from featherweight.cli.contents import refuse_network_options, show_file

        refuse_network_options(
            weights=weights, input_shape=input_shape, groups=groups or None,
            sensitivity=sensitivity or None, data=data, report=report,
        )  # fmt: skip
        output.write_json(json, show_file(Path(what)))
        return
    _refuse_idle(groups=groups, sensitivity=sensitivity, data=data, report=report)
    if sensitivity and data is not None:
        from featherweight.cli.sensitivity import Scan, show_sensitivity

        with resumable("With --json, the same command goes on."):
            show_sensitivity(Scan(what, weights, data, input_shape, report, json))
    else:
        output.write_json(json, _shown(what, weights, input_shape, groups=groups))


def _shown(what: str, weights: Path | None, input_shape: str | None, *, groups: bool) -> dict[str, Any]:
    """Print the groups or the weights of a network; return the record."""
    if groups:
        from featherweight.cli.groups import show_groups

        return show_groups(what, weights, input_shape)
    from featherweight.cli.anatomy import show_network

    return show_network(what, weights, input_shape)


def _refuse_idle(groups: bool, sensitivity: bool, data: str | None, report: Path | None) -> None:
    if sensitivity and groups:
        raise SettingError("--groups and --sensitivity show different things: give one of them.")
    if sensitivity and data is None:
        raise SettingError("--sensitivity measures accuracy: give --data module:factory, or a data set.")
    for option, value in (("--data", data), ("--report", report)):
        if value is not None and not sensitivity:
            raise SettingError(f"{option} would do nothing without --sensitivity.")


def _is_file(what: str) -> bool:
    if is_factory(what) or what.endswith(".py"):
        return False
    return what.endswith(".safetensors") or Path(what).is_file() or "/" in what
