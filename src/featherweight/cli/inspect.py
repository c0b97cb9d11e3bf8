"""``featherweight inspect``: what is in a file, or what of a network would be pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featherweight.cli import output
from featherweight.cli.resolve import is_factory


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
    json: output.JsonOption = None,
) -> None:
    """Show the tensors of a file, the weights of a network, or (--groups) which of its layers go together."""
    output.check_target(json, "--json")
    if _is_file(what):
        from featherweight.cli.contents import refuse_network_options, show_file

        refuse_network_options(weights=weights, input_shape=input_shape, groups=groups or None)
        output.write_json(json, show_file(Path(what)))
    elif groups:
        from featherweight.cli.groups import show_groups

        output.write_json(json, show_groups(what, weights, input_shape))
    else:
        from featherweight.cli.anatomy import show_network

        output.write_json(json, show_network(what, weights, input_shape))


def _is_file(what: str) -> bool:
    if is_factory(what) or what.endswith(".py"):
        return False
    return what.endswith(".safetensors") or Path(what).is_file() or "/" in what
