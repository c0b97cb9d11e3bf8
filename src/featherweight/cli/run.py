"""``featherweight run``: arrays through a ``.fw`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featherweight.cli import output
from featherweight.cli.compile import Isa, Threads


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE.fw", help="A compiled network.")],
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="[NAME=]FILE.npy", help="An input, in order or by name; else noise."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Of noise, where the network takes any batch.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE.npz|FILE.npy", help="Write the outputs there: by name, or the one."
        ),
    ] = None,
    threads: Threads = None,
    isa: Isa = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show the time of each operation.")] = False,
    json: output.JsonOption = None,
) -> None:
    """Run a compiled network; neither PyTorch nor ONNX is needed."""
    from featherweight.cli.deploying.running import Call, run_call

    output.check_target(out, "--out")
    output.check_target(json, "--json")
    run_call(Call(file, tuple(inputs or ()), batch, out, threads, isa, profile), json)
