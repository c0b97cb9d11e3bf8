"""Records: one line of JSON a training, appended whole, so that a killed run loses none that was finished."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from featherweight.errors import DataError


@dataclass(frozen=True)
class LevelRecord:
    """What came of one training.

    Attributes:
        experiment: hash of the settings of this branch and seed; see ``Experiment.key``.
        branch: its name.
        seed: of the initial weights, the order of the data and everything random.
        level: how many times a fraction was pruned; 0 is the dense network.
        kept: prunable weights that are left.
        weights: prunable weights of the dense network.
        validation: accuracy on the validation split at the chosen epoch, 0..1.
        test: on the test split, read once; None: there is none.
        examples: of the test split; 0: there is none.
        stop_step: optimizer step at the end of the chosen epoch, counted from the initialisation: where
            stopping early would have stopped, to within an epoch.
        steps: of a whole training.
        rewound_to: step that the training started from.
        seconds: of training, validation included.
        versions: of what it was run with.
    """

    experiment: str
    branch: str
    seed: int
    level: int
    kept: int
    weights: int
    validation: float
    test: float | None
    examples: int
    stop_step: int
    steps: int
    rewound_to: int
    seconds: float = field(compare=False)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def remaining(self) -> float:
        """Fraction of the prunable weights that is left, 0..1."""
        return self.kept / self.weights

    def accuracy(self, split: str) -> float | None:
        """Return the accuracy on "validation" or "test", 0..1."""
        return self.test if split == "test" else self.validation


def versions() -> dict[str, str]:
    """Return the versions of what a training depends on."""
    from featherweight import __version__

    return {"featherweight": __version__, "torch": torch.__version__, "python": platform.python_version()}


def records(folder: str | os.PathLike[str]) -> tuple[LevelRecord, ...]:
    """Return the records of the experiments in ``folder``, in the order in which they were made.

    Raises:
        DataError: there are none, or a line is not a record.
    """
    path = Path(folder) / "records.jsonl"
    if not path.is_file():
        raise DataError(f"{str(folder)!r} has no records.jsonl: is it the folder of a lottery experiment?")
    return read_records(path)


def read_records(path: Path) -> tuple[LevelRecord, ...]:
    """Return the records of a file; a line that was begun and not ended is none, nor is a missing file.

    Raises:
        DataError: a line is not a record.
    """
    whole = _whole_lines(path.read_bytes()) if path.exists() else b""
    return tuple(_parsed(path, number, line) for number, line in enumerate(whole.splitlines(), start=1))


def append_record(path: Path, record: LevelRecord) -> None:
    """Add a line, after taking away what a killed process left of one; it is on the disk afterwards."""
    line = json.dumps(asdict(record), allow_nan=False).encode() + b"\n"
    with path.open("ab") as file:
        file.truncate(len(_whole_lines(path.read_bytes())))
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _parsed(path: Path, number: int, line: bytes) -> LevelRecord:
    try:
        return LevelRecord(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{str(path)!r}: line {number} is no record of a lottery experiment ({error}). Take it out, and "
            f"it will be run again."
        ) from error
