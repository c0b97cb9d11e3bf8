"""What a run shows while it runs: a bar on a terminal, else a line an epoch; on stderr."""

from __future__ import annotations

from featherweight.training.bar import Bar
from featherweight.training.records import EpochRecord


class ProgressView(Bar):
    """The steps of a run as they are taken; silent where ``show`` is false."""

    def __init__(self, show: bool, epochs: int, batches: int) -> None:
        """Make a view of ``epochs`` times ``batches``; ``show`` is true on one process only."""
        super().__init__(show, epochs * batches)
        self._epochs, self._batches = epochs, batches

    def at(self, epoch: int, batch: int) -> None:
        """Show that ``batch`` batches of ``epoch`` (from 0) are done."""
        words = f"epoch {min(epoch + 1, self._epochs)}/{self._epochs}"
        self.move(epoch * self._batches + batch, words)

    def epoch_done(self, record: EpochRecord) -> None:
        """Show ``record``."""
        self.say(line(record, self._epochs))


def line(record: EpochRecord, epochs: int) -> str:
    """Return ``record`` as one line of text."""
    parts = [f"epoch {record.epoch + 1}/{epochs}", f"loss {record.train_loss:.4f}"]
    if record.validation is not None:
        parts.append(f"validation {record.validation:.4f}")
    if record.sparsity is not None:
        parts.append(f"sparsity {record.sparsity:.4f}")
    return "  ".join([*parts, f"rate {record.learning_rate:.2e}", f"{record.seconds:.1f} s"])
