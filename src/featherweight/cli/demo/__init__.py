"""``featherweight demo``: what the library is for, on a real network, in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featherweight.cli import output
from featherweight.cli.failures import resumable


def demo(
    *,
    network: Annotated[str, typer.Option(help="A network of the zoo.")] = "fashion_cnn",
    data: Annotated[str, typer.Option(help="A data set of the zoo.")] = "fashion_mnist",
    sparsity: Annotated[float, typer.Option(help="Fraction of the weights that become zero.")] = 0.9,
    epochs: Annotated[
        int, typer.Option(help="Epochs of fine-tuning; after the cut of channels half as many again.")
    ] = 4,
    distill: Annotated[
        bool,
        typer.Option(
            "--distill",
            help="Also train a student of under a tenth of the network's parameters, alone and with the "
            "network as its teacher.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the files that are written.")] = Path("demo-out"),
    json: output.JsonOption = None,
) -> None:
    """Prune a trained network while fine-tuning, against one-shot and random pruning; show what is left.

    Then remove channels until a fifth of the work is left, and time it. The files are loaded in a fresh
    process, which must predict the same. Stopped with Ctrl-C, the same
    command goes on where it was.
    """
    output.check_target(json, "--json")
    with resumable(f"The same command goes on from what is saved in {str(out)!r}."):
        from featherweight.cli.demo.flow import Request, run_demo

        run_demo(Request(network, data, sparsity, epochs, seed, out, json, distill))
