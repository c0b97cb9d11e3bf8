"""What shows how far something is: a bar on a terminal, else lines; on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """A bar where stderr is a terminal, and lines above it or in its place; silent where ``show`` is false.

    Attributes:
        is_drawn: whether there is a bar, which tells the time that is left.
    """

    def __init__(self, show: bool, total: int) -> None:
        """Make a bar of ``total`` steps; ``show`` is true on one process only."""
        self._show = show
        self._bar = _made() if show and sys.stderr.isatty() else None
        self._task = self._bar.add_task("", total=total) if self._bar else None
        self.is_drawn = self._bar is not None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def move(self, done: int, words: str = "") -> None:
        """Draw the bar with ``done`` steps, and ``words`` before it."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, description=words)

    def say(self, text: str) -> None:
        """Show a line."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif self._show:
            print(text, file=sys.stderr, flush=True)


def _made() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)
