"""``featherweight prune``: prune a network of the user's own, with data or without."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featherweight.cli import output
from featherweight.cli.choices import choices
from featherweight.cli.failures import resumable

MODEL_HELP = "module:factory, file.py:factory, or a network of the zoo."
DATA_HELP = "Returns (train, validate[, test]) loaders; or a data set of the zoo. Without it: no fine-tuning."
CRITERION_HELP = f"How much a weight matters: {choices('criteria')}."
ALLOCATION_HELP = f"How many weights each layer keeps: {choices('allocation')}."
SCHEDULE_HELP = f"When to prune: {choices('schedules')} (cubic unless given); with --data only."


def prune(
    model: Annotated[str, typer.Argument(metavar="MODULE:FACTORY", help=MODEL_HELP)],
    *,
    weights: Annotated[Path | None, typer.Option(help="Safetensors file to fill the network with.")] = None,
    data: Annotated[str | None, typer.Option(metavar="MODULE:FACTORY", help=DATA_HELP)] = None,
    sparsity: Annotated[float, typer.Option(help="Fraction of the prunable weights to be zero.")] = 0.9,
    criterion: Annotated[str, typer.Option(help=CRITERION_HELP)] = "magnitude",
    allocation: Annotated[str, typer.Option(help=ALLOCATION_HELP)] = "global",
    schedule: Annotated[str | None, typer.Option(help=SCHEDULE_HELP)] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Of fine-tuning, 5 unless given; with --data only.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of fine-tuning, 0.05 unless given; with --data only.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Leave these parameters or modules alone.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The compact file to write.")] = Path("small.safetensors"),
    values: Annotated[str, typer.Option(help="In the file: fp32 (bit for bit), fp16 or bf16.")] = "fp32",
    json: output.JsonOption = None,
) -> None:
    """Prune a network and write it to a compact file; with data, fine-tune it while it is pruned.

    Stopped with Ctrl-C while it trains, the same command goes on where it was.
    """
    output.check_target(json, "--json")
    output.check_target(out, "--out")
    with resumable("The same command goes on from what was saved while training."):
        from featherweight.cli.prune_flow import Request, run_prune

        request = Request(
            model=model,
            weights=weights,
            data=data,
            sparsity=sparsity,
            criterion=criterion,
            allocation=allocation,
            tuning={"schedule": schedule, "epochs": epochs, "learning_rate": learning_rate},
            seed=seed,
            skip=tuple(skip or ()),
            out=out,
            values=values,
        )
        run_prune(request, json)
