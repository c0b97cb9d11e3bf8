"""The folder of an experiment: where everything lies, and that one process at a time works in it.

experiment.json               the settings that all records share
records.jsonl                 a line a training
seed-0/rewind.safetensors     the rewind point
seed-0/ticket/masks-03.safetensors, level-03.safetensors    masks, and the trained weights where they are kept
seed-0/ticket/run-03/         the checkpoint of a training that is not finished
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from featherweight.artifact.atomic import replacing
from featherweight.errors import SettingError, TrainingError
from featherweight.sparsity.lottery.branches import Step
from featherweight.sparsity.lottery.experiment import Experiment
from featherweight.training.checkpoint import first_difference


@dataclass(frozen=True)
class Folder:
    """Where the files of an experiment are."""

    path: Path

    @property
    def settings(self) -> Path:
        """The file of the settings that all records share."""
        return self.path / "experiment.json"

    @property
    def records(self) -> Path:
        """The file of the records."""
        return self.path / "records.jsonl"

    def rewind(self, seed: int) -> Path:
        """Return the file of the rewind point."""
        return self.path / f"seed-{seed}" / "rewind.safetensors"

    def masks(self, step: Step) -> Path:
        """Return the file of the masks of a training."""
        return self._branch(step) / f"masks-{step.level:02}.safetensors"

    def weights(self, step: Step) -> Path:
        """Return the file of trained weights, for ``fw.load``."""
        return self._branch(step) / f"level-{step.level:02}.safetensors"

    def run(self, step: Step) -> Path:
        """Return the folder of a training's checkpoint."""
        return self._branch(step) / f"run-{step.level:02}"

    def forget(self, step: Step) -> None:
        """Drop the checkpoint of a training that has its record."""
        shutil.rmtree(self.run(step), ignore_errors=True)

    def prepare(self, step: Step) -> None:
        """Make the folder of a branch."""
        self._branch(step).mkdir(parents=True, exist_ok=True)

    def _branch(self, step: Step) -> Path:
        return self.path / f"seed-{step.seed}" / step.branch


@contextmanager
def occupied(path: str | os.PathLike[str], experiment: Experiment) -> Generator[Folder]:
    """Have a folder to oneself, made if it is not there; it holds this experiment or none.

    Raises:
        SettingError: it holds another experiment, is a file, or cannot be made.
        TrainingError: another process works in it.
    """
    folder = Folder(Path(path))
    if folder.path.exists() and not folder.path.is_dir():
        raise SettingError(f"folder {str(path)!r} is a file; give the name of a folder.")
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"Cannot make the folder {str(path)!r}: {error}.") from error
    with (folder.path / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(
                f"Another process works in {str(path)!r}. Wait for it, or give another folder."
            ) from error
        _check_same(folder, experiment)
        yield folder


def _check_same(folder: Folder, experiment: Experiment) -> None:
    identity = experiment.identity()
    if not folder.settings.exists():
        with replacing(folder.settings, "w") as file:
            file.write(json.dumps(identity, indent=1) + "\n")
        return
    try:
        found = json.loads(folder.settings.read_text())
    except ValueError as error:
        raise SettingError(f"{str(folder.settings)!r} is damaged: {error}. Give another folder.") from error
    if difference := first_difference(found, identity):
        raise SettingError(
            f"{str(folder.path)!r} holds another experiment: {difference}. Give another folder, or delete it."
        )
