"""``featherweight bench``: network files against each other, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featherweight.cli import output


def bench(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Networks: .fw, .onnx, .pt2 (as torch.export.save writes)."),
    ],
    *,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="ENGINE,...", help="What runs files that are not .fw: onnxruntime, openvino, torch."
        ),
    ] = None,
    threads: Annotated[str, typer.Option(metavar="N,...", help="Numbers of threads.")] = "1",
    batch: Annotated[int, typer.Option(min=1, help="Where a network takes any batch.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of measuring, for each number of threads.")] = 10.0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw it; needs matplotlib.")] = None,
    json: output.JsonOption = None,
) -> None:
    """Time networks in turns (A B A B ...), on the same inputs, in fp32, and compare their outputs."""
    from featherweight.cli.deploying.comparing import Comparison, run_comparison

    output.check_target(plot, "--plot")
    output.check_target(json, "--json")
    run_comparison(Comparison.of(files, against, threads, batch, seconds), plot, json)
