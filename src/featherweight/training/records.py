"""What a run was: a record an epoch, the history of them, and the files they are written to."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featherweight.artifact.atomic import replacing

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True)
class EpochRecord:
    """One epoch.

    Attributes:
        epoch: number of the epoch, from 0.
        step: optimizer steps taken since the start of the run.
        train_loss: mean over the batches of all processes.
        validation: the metric on the validation split (accuracy in 0..1 by default); None without one.
        learning_rate: at the last step.
        sparsity: of the pruner, 0..1; None without one.
        ready: whether the epoch might be chosen: false while a pruner was short of its target.
        seconds: wall-clock time, validation included.
    """

    epoch: int
    step: int
    train_loss: float
    validation: float | None
    learning_rate: float
    sparsity: float | None
    ready: bool
    seconds: float


@dataclass(frozen=True)
class History:
    """A finished run.

    Attributes:
        epochs: a record each.
        best: the record of the epoch whose weights the model holds.
        chosen_by: why that epoch, in words.
        resumed_from: (epoch, batch) at which the run went on from a checkpoint, both from 0; or None.
    """

    epochs: tuple[EpochRecord, ...]
    best: EpochRecord
    chosen_by: str
    resumed_from: tuple[int, int] | None = None


class Recorder:
    """Writes the records of a run to ``metrics.jsonl`` and, where it is installed, to TensorBoard."""

    def __init__(self, folder: Path, records: Sequence[EpochRecord]) -> None:
        """Start from ``records``, those in the checkpoint: later ones in the files are dropped."""
        self._path = folder / METRICS
        self._records = list(records)
        self._write()
        last = records[-1].step if records else -1
        self._board = _summary_writer(folder / TENSORBOARD, purge_step=last + 1)

    def add(self, record: EpochRecord) -> None:
        """Write ``record``."""
        self._records.append(record)
        self._write()
        if self._board is not None:
            for name, value in _scalars(record).items():
                self._board.add_scalar(name, value, record.step)
            self._board.flush()

    def close(self) -> None:
        """Close the files."""
        if self._board is not None:
            self._board.close()

    def _write(self) -> None:
        # Whole each time: a run has few epochs, and so the file is never half a line.
        with replacing(self._path, "w") as file:
            file.writelines(json.dumps(asdict(record)) + "\n" for record in self._records)


def _scalars(record: EpochRecord) -> dict[str, float]:
    values = {
        "loss/train": record.train_loss,
        "metric/validation": record.validation,
        "learning_rate": record.learning_rate,
        "sparsity": record.sparsity,
        "seconds": record.seconds,
    }
    return {name: value for name, value in values.items() if value is not None}


def _summary_writer(folder: Path, purge_step: int) -> Any:
    """Return TensorBoard's writer, None where TensorBoard is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # its imports warn about one another's age; nothing to do about it here
        try:
            board = importlib.import_module("torch.utils.tensorboard")
        except ImportError:
            return None
    return board.SummaryWriter(str(folder), purge_step=purge_step)
