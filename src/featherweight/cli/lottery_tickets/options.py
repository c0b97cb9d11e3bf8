"""The options of ``featherweight lottery``; no torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featherweight.cli.choices import choices

OUT = Path("lottery")

Network = Annotated[
    str,
    typer.Option(
        metavar="MODULE:FACTORY",
        help="Returns a new network with fresh weights: module:factory, file.py:factory, or a network of the "
        "zoo, also with options: small_cnn:widths=8,16,32,64.",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        metavar="MODULE:FACTORY",
        help="Returns (train, validate[, test]) loaders; or a data set of the zoo.",
    ),
]
Levels = Annotated[int, typer.Option(help="How many times a fraction is pruned.")]
Fraction = Annotated[float, typer.Option(help="Of the weights that are left, how many go at each level.")]
OutputFraction = Annotated[
    float | None,
    typer.Option(help="The same for the last layer; as the others unless given. The paper halves it: 0.1."),
]
Rewind = Annotated[
    str,
    typer.Option(
        metavar="WHERE",
        help="0: to the initialisation; a number of steps, or a fraction of the run such as 0.05: to an "
        "early step; 'learning rate': weights stay as they are trained, the rate alone starts anew.",
    ),
]
Branch = Annotated[
    list[str] | None,
    typer.Option(
        help=f"What is trained, once for each; all unless given: {choices('sparsity/lottery/branches')}."
    ),
]
Seeds = Annotated[str, typer.Option(metavar="SEED,...", help="A whole experiment each, with commas.")]
Allocation = Annotated[
    str,
    typer.Option(
        help="How many weights each layer keeps; uniform: the same fraction of each, as in the paper: "
        f"{choices('sparsity/allocation')}."
    ),
]
Skip = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A parameter or module to leave alone, * for any; once for each."),
]
Epochs = Annotated[int | None, typer.Option(help="Of each training, 5 unless given.")]
LearningRate = Annotated[float | None, typer.Option(help="The highest; 0.05 unless given.")]
Rate = Annotated[str | None, typer.Option(help="Its course: one_cycle (unless given), cosine or constant.")]
Optimizer = Annotated[str | None, typer.Option(help="sgd (unless given) or adamw.")]
WeightDecay = Annotated[float | None, typer.Option(help="0.0005 unless given.")]
Precision = Annotated[str | None, typer.Option(help="fp32, bf16, or auto (unless given).")]
BatchSize = Annotated[
    int | None, typer.Option(help="Of a data set of the zoo, 128 unless given; loaders have their own.")
]
Augment = Annotated[
    bool, typer.Option("--augment", help="Shift and mirror the training images of a data set of the zoo.")
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help=f"For records, masks and weights; {OUT} unless given."),
]
Workers = Annotated[int, typer.Option(help="Trainings at the same time.")]
Report = Annotated[
    Path | None,
    typer.Option(metavar="FILE.html", help="Write one page with the table and the picture to this file."),
]
