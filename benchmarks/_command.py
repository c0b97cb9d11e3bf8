"""The command of a benchmark whose runs are records: what is there stays, what is missing is run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmarks._queue import Record, missing, perform_all, records

Run = TypeVar("Run")


def command(description: str | None, results: Path, smoke: str = "") -> argparse.ArgumentParser:
    """Return a parser with the options that all such commands have; ``args.results`` is the results file.

    Args:
        description: the docstring of the benchmark.
        results: the file that is committed.
        smoke: what ``--smoke`` runs, in words; "": there is no such option.
    """
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=formatter)
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, on a thread each")
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    if smoke:
        parser.add_argument("--smoke", action="store_true", help=f"{smoke}; nothing is kept")
    return parser


def run_missing(
    args: argparse.Namespace,
    runs: Iterable[Run],
    perform: Callable[[Run], Record],
    shown: Sequence[str],
    **how: Any,
) -> list[Record]:
    """Do what has no record yet, unless the table alone is asked for; return all records there are.

    Args:
        args: what ``command`` parsed.
        runs: all that are wanted.
        perform: does one.
        shown: fields of a record to print.
        **how: as ``perform_all`` takes it.
    """
    if not args.table:
        todo = missing(runs, records(args.results))
        print(f"{len(todo)} runs to do", file=sys.stderr)
        perform_all(todo, perform, args.results, args.workers, shown, **how)
    return records(args.results)


@contextmanager
def kept_unless_smoke(args: argparse.Namespace, **smoke: Any) -> Generator[argparse.Namespace]:
    """With ``--smoke`` put in the settings ``smoke`` and a results file that is gone afterwards."""
    if not args.smoke:
        yield args
        return
    with tempfile.TemporaryDirectory() as folder:
        yield argparse.Namespace(**vars(args) | smoke | {"results": Path(folder) / args.results.name})
