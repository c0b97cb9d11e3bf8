"""Many runs, each in a process and on a thread of its own; records are appended as they come, one a line."""

from __future__ import annotations

import json
import statistics
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

Record = dict[str, Any]
Run = TypeVar("Run")  # a frozen dataclass, whose fields are in the record of the run


def records(path: Path) -> list[Record]:
    """Return the records of a results file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def missing(runs: Iterable[Run], done: Iterable[Record]) -> list[Run]:
    """Return the runs that have no record yet."""
    runs, done = list(runs), list(done)
    return [run for run in runs if not any(is_of(record, run) for record in done)]


def is_of(record: Record, run: Any) -> bool:
    """Whether a record is that of a run."""
    return all(record.get(name) == value for name, value in vars(run).items())


def of_every_seed(done: Iterable[Record], run: Any) -> list[Record]:
    """Return the records of a run from all seeds."""
    return [record for record in done if is_of(record, replace(run, seed=record.get("seed", 0)))]


def perform_all(
    runs: Sequence[Run],
    perform: Callable[[Run], Record],
    path: Path,
    workers: int,
    shown: Sequence[str],
    *,
    figure: str | None = None,
    fresh: bool = True,
) -> None:
    """Do the runs and append each record as it comes; print its fields ``shown``, its figure and time.

    Args:
        runs: to do.
        perform: does one and returns its record.
        path: of the results file.
        workers: runs at a time.
        shown: fields to print.
        figure: field to print last; None: the accuracy on the test set, or on the validation split of runs
            that choose.
        fresh: whether each run has a process of its own, as measuring memory needs; else each worker has.
    """
    each = 1 if fresh else None
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=each) as pool:
        futures = [pool.submit(perform, run) for run in runs]
        broken = 0
        for number, future in enumerate(as_completed(futures), 1):
            try:
                record = future.result()
            except (Exception, SystemExit):  # the others go on
                traceback.print_exc()
                broken += 1
                continue
            with path.open("a") as file:
                file.write(json.dumps(record) + "\n")
            words = " ".join(f"{name} {record[name]}" for name in shown)
            result = _result(record, figure)
            print(f"{number}/{len(runs)} {words}: {result} ({record['seconds']:.0f} s)", flush=True)
    if broken:
        raise SystemExit(f"{broken} of {len(runs)} runs broke off: see above. They have no record.")


def _result(record: Record, figure: str | None) -> str:
    if record.get("failed"):
        return f"failed: {record['failed']}"
    if figure is None:
        figure = "validation" if record["test"] is None else "test"  # runs that choose read no test
    return f"{figure} {record[figure]:.4f}"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return mean ± standard deviation (how many), or the one value."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else "not run"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f} ({len(values)})"
