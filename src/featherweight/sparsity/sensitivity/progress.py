"""What a scan shows while it runs: a bar on a terminal, else a line a layer; on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from featherweight.sparsity.sensitivity.result import LayerScores


class ScanProgress:
    """The measurements of a scan as they are made; silent where ``show`` is false."""

    def __init__(self, show: bool, total: int) -> None:
        """Make a view of ``total`` measurements."""
        self._show, self._total = show, total
        self._done = self._measured = 0
        self._started = time.monotonic()
        self._bar = _bar() if show and sys.stderr.isatty() else None
        self._task = self._bar.add_task("", total=total) if self._bar else None

    def __enter__(self) -> ScanProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def measured(self) -> None:
        """Count a measurement that was made now, not read from the log."""
        self._measured += 1

    def advance(self) -> None:
        """Count a measurement, made now or before."""
        self._done += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)

    def layer_done(self, layer: LayerScores) -> None:
        """Show what the levels of a layer came to."""
        words = ", ".join(f"{_score(p.loss, p.score)} at {p.level:g}" for p in layer.points)
        if self._bar is not None:
            self._bar.console.print(f"{layer.name}  {words}", markup=False, highlight=False)
        elif self._show:
            print(f"layer {layer.name}  {words}{self._left()}", file=sys.stderr, flush=True)

    def _left(self) -> str:
        to_go = self._total - self._done
        if not to_go or not self._measured:
            return ""
        return f"  ({(time.monotonic() - self._started) / self._measured * to_go:.0f} s to go)"


def _score(loss: float, score: float | None) -> str:
    return f"loss {loss:.4g}" if score is None else f"{score:.4f}"


def _bar() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)
