"""What a run shows while it runs: a bar on a terminal, else a line an epoch; on stderr."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from featherweight.training.records import EpochRecord


class ProgressView:
    """The steps of a run as they are taken; silent where ``show`` is false."""

    def __init__(self, show: bool, epochs: int, batches: int) -> None:
        """Make a view of ``epochs`` times ``batches``; ``show`` is true on one process only."""
        self._show, self._epochs, self._batches = show, epochs, batches
        self._bar = self._make_bar() if show and sys.stderr.isatty() else None
        self._task = self._bar.add_task("", total=epochs * batches) if self._bar else None

    def __enter__(self) -> ProgressView:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def at(self, epoch: int, batch: int) -> None:
        """Show that ``batch`` batches of ``epoch`` (from 0) are done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                completed=epoch * self._batches + batch,
                description=f"epoch {min(epoch + 1, self._epochs)}/{self._epochs}",
            )

    def epoch_done(self, record: EpochRecord) -> None:
        """Show ``record``."""
        self.say(line(record, self._epochs))

    def say(self, text: str) -> None:
        """Show a line."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif self._show:
            print(text, file=sys.stderr, flush=True)

    @staticmethod
    def _make_bar() -> Progress:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        return Progress(*columns, console=Console(stderr=True), transient=True)


def line(record: EpochRecord, epochs: int) -> str:
    """Return ``record`` as one line of text."""
    parts = [f"epoch {record.epoch + 1}/{epochs}", f"loss {record.train_loss:.4f}"]
    if record.validation is not None:
        parts.append(f"validation {record.validation:.4f}")
    if record.sparsity is not None:
        parts.append(f"sparsity {record.sparsity:.4f}")
    return "  ".join([*parts, f"rate {record.learning_rate:.2e}", f"{record.seconds:.1f} s"])
