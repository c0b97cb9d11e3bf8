"""The ``featherweight`` command: its subcommands, and what every one of them does about errors."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import featherweight
from featherweight.cli import bench, compile, demo, distill, inspect, lottery, prune, run
from featherweight.cli.failures import answered


class Commands(TyperGroup):
    """A group whose commands end with an answer, not with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with answered(bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    help="Prune a trained PyTorch network to a tenth of its weights, and keep its accuracy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(inspect.inspect)
app.command()(prune.prune)
app.command()(distill.distill)
app.command()(lottery.lottery)
app.command()(compile.compile)
app.command()(run.run)
app.command()(bench.bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"featherweight {featherweight.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error too.")] = False,
) -> None:
    """Prune a trained PyTorch network to a tenth of its weights, and keep its accuracy."""


def main() -> None:
    """Run the command line; the exit codes are those of featherweight.cli.failures."""
    app()
