"""The options of ``featherweight distill``, and which of them do something together; no torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from featherweight.cli.choices import choices
from featherweight.errors import SettingError

OUT = Path("student.safetensors")
_NETWORK = "module:factory, file.py:factory, or a network of the zoo"

Teacher = Annotated[
    str, typer.Option(metavar="MODULE:FACTORY", help=f"The trained network to learn from: {_NETWORK}.")
]
Student = Annotated[
    str,
    typer.Option(
        metavar="MODULE:FACTORY",
        help=f"The network to train: {_NETWORK}, also with options: small_cnn:widths=8,16,32,64.",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        metavar="MODULE:FACTORY",
        help="Returns (train, validate[, test]) loaders; or a data set of the zoo.",
    ),
]
TeacherWeights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Safetensors file to fill the teacher with.")
]
StudentWeights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Safetensors file that the student starts from.")
]
Loss = Annotated[
    str,
    typer.Option(help=f"What is compared, such as kd or 'kd + 50*at': {choices('distillation/losses')}."),
]
Alpha = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE[,SHARE]",
        help="Share of the teacher in the loss, 0..1, 0.5 unless given; 0.9,0.1 goes from one to the other.",
    ),
]
Temperature = Annotated[
    str | None,
    typer.Option(
        metavar="T[,T]",
        help="At which classes are compared; that of the loss unless given, 4 for kd. A pair like --alpha.",
    ),
]
Features = Annotated[
    list[str] | None,
    typer.Option(
        metavar="T.PATH=S.PATH",
        help="Modules of teacher and student whose outputs are compared, such as layer3=stages.2, once for "
        "each pair; paired by themselves unless given.",
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Of either run, 10 unless given; with --grid 2.")]
LearningRate = Annotated[float | None, typer.Option(help="The highest, of either run; 0.05 unless given.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
EmaDecay = Annotated[
    float | None,
    typer.Option(help="Of a moving average of the weights, such as 0.999, which takes their place."),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Keep the teacher's outputs here, in the place of running it; for data that are not augmented.",
    ),
]
NoBaseline = Annotated[bool, typer.Option("--no-baseline", help="Do not train the student alone too.")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help=f"The compact file to write, {OUT} unless given."),
]
Values = Annotated[
    str | None, typer.Option(help="In the file: fp32 (bit for bit, unless given), fp16 or bf16.")
]
Report = Annotated[
    Path | None,
    typer.Option(metavar="FILE.html", help="Write one page with tables and pictures to this file."),
]
Grid = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.jsonl",
        help="Instead, distil with each of several temperatures and alphas, and append the accuracy on the "
        "validation split to this file, a line each.",
    ),
]

_ONE_STUDENT = ("alpha", "temperature", "out", "values")


def refuse_idle(asked: Mapping[str, Any]) -> None:
    """Refuse options that would do nothing together with the others.

    Args:
        asked: what was given, by parameter name; None: not given.

    Raises:
        SettingError: one would do nothing; says with what.
    """
    if asked["grid"] is None:
        return
    given = [f"--{name}" for name in _ONE_STUDENT if asked[name] is not None]
    given += ["--no-baseline"] if asked["no_baseline"] else []
    if given:
        raise SettingError(
            f"{', '.join(given)} would do nothing with --grid: it tries its own temperatures and alphas, "
            f"beside the student alone, and writes no network."
        )
