"""``featherweight compile``: a network becomes one ``.fw`` file that runs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featherweight.cli import output
from featherweight.errors import SettingError

Threads = Annotated[int | None, typer.Option(min=1, help="Threads that run it; as many as there are cores.")]
Isa = Annotated[
    str | None, typer.Option(help="Instruction set: avx512, avx2, neon, portable; the best that there is.")
]


def compile(
    model: Annotated[
        str,
        typer.Argument(
            metavar="FILE.onnx|MODULE:FACTORY",
            help="An ONNX file, module:factory, file.py:factory, or a network of the zoo.",
        ),
    ],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file; by default NAME.fw.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Safetensors file to fill the network with, such as prune wrote.")
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(metavar="N,C,H,W", help="Sizes of an input; ids=1,128:int64 for one of several."),
    ] = None,
    threads: Threads = None,
    isa: Isa = None,
    tune: Annotated[
        bool, typer.Option(help="Measure which kernel is faster for each layer, on this machine.")
    ] = True,
    json: output.JsonOption = None,
) -> None:
    """Make a network ready for the sparse runtime.

    Every layer gets the kernel that is faster here: none is slower for being sparse.
    """
    from featherweight.cli.deploying.building import Build, run_build

    onnx = model.endswith(".onnx")
    if onnx and (weights is not None or input_shape):
        raise SettingError("--weights and --input-shape are for networks in Python: an .onnx file has both.")
    target = out or Path(f"{Path(model).stem if onnx else model.rpartition(':')[2]}.fw")
    output.check_target(target, "--out")
    output.check_target(json, "--json")
    run_build(Build(model, target, weights, tuple(input_shape or ()), threads, isa, tune), json)
