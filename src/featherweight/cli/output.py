"""Where commands write: tables to stdout, remarks to stderr, JSON to a file, whole or not at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from featherweight.artifact import replacing
from featherweight.errors import SettingError

JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the record to this file, as JSON.")
]


def show(table: Any) -> None:
    """Print a rich table to stdout; as wide as it needs to be where stdout is not a terminal."""
    width = None if sys.stdout.isatty() else 118
    Console(file=sys.stdout, width=width).print(table)


def say(text: str = "") -> None:
    """Print a line to stdout."""
    typer.echo(text)


def remark(text: str) -> None:
    """Print a line to stderr."""
    typer.echo(text, err=True)


def check_target(path: Path | None, option: str) -> None:
    """Refuse a file that could not be written at the end, before any work is done.

    Raises:
        SettingError: its folder does not exist, it is a folder, a device or a pipe, or no name of a file.
    """
    if path is None:
        return
    try:
        _check(path, option)
    except OSError as error:
        raise SettingError(f"{option} {str(path)!r}: {error.strerror}.") from error


def _check(path: Path, option: str) -> None:
    if path.is_dir():
        raise SettingError(f"{option} {str(path)!r} is a folder; give the name of a file.")
    if not path.resolve().parent.is_dir():
        raise SettingError(f"{option} {str(path)!r}: its folder does not exist. Make it first.")
    if path.exists() and not path.is_file():
        raise SettingError(f"{option} {str(path)!r} is a device or a pipe; give the name of a file.")


def write_json(path: Path | None, record: str | dict[str, Any]) -> None:
    """Write a record to ``path``, if there is one."""
    if path is None:
        return
    text = record if isinstance(record, str) else json.dumps(record, indent=1)
    with replacing(path, "w") as file:
        file.write(text.rstrip("\n") + "\n")
