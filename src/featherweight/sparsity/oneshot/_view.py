"""What one-shot pruning shows while it runs: a bar on a terminal, else a line a layer; on stderr."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from featherweight.sparsity.oneshot.report import LayerReport


class View:
    """The layers of a run as they are done; silent where ``show`` is false."""

    def __init__(self, show: bool, bar: Progress | None, layers: int) -> None:
        self._show, self._bar, self._layers, self._done = show, bar, layers, 0
        self._task = bar.add_task("", total=layers) if bar is not None else None

    def at(self, name: str) -> None:
        """Show which layer is being worked on."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=name)

    def done(self, report: LayerReport) -> None:
        """Show what was done to a layer."""
        self._done += 1
        if self._bar is not None and self._task is not None:
            self._bar.console.print(str(report), markup=False, highlight=False)
            self._bar.update(self._task, completed=self._done)
        elif self._show:
            print(f"{self._done}/{self._layers}  {report}", file=sys.stderr, flush=True)


@contextmanager
def view(show: bool, layers: int) -> Generator[View]:
    """Show a run of so many layers."""
    if not (show and sys.stderr.isatty()):
        yield View(show, None, layers)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield View(show, bar, layers)
