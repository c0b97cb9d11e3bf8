"""Running an experiment: all that has no record yet."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing

from featherweight.errors import SettingError
from featherweight.sparsity.lottery.branches import Step, branches
from featherweight.sparsity.lottery.experiment import Experiment
from featherweight.sparsity.lottery.folder import Folder, occupied
from featherweight.sparsity.lottery.lineage import check
from featherweight.sparsity.lottery.queue import Queue, steps_of
from featherweight.sparsity.lottery.records import LevelRecord, append_record, read_records
from featherweight.sparsity.lottery.workers import here, in_processes


def run(
    experiment: Experiment, folder: str | os.PathLike[str], *, workers: int = 1, progress: bool = True
) -> tuple[LevelRecord, ...]:
    """Train all levels of all branches from all seeds that have no record in ``folder``; return all records.

    Killed at any moment, the same call goes on: with the training that was interrupted, from the end of its
    last epoch. The records are then those of a run that was not interrupted, but for the seconds.

    Args:
        experiment: what to do. Levels, branches and seeds may be added to a folder later.
        folder: for ``records.jsonl``, masks, rewind points and trained weights; made if it is not there.
        workers: trainings at the same time, each in a process of its own where it is more than one; they
            share the threads of torch.
        progress: print a line a training to stderr.

    Raises:
        SettingError: a setting does not fit the data, or the folder holds another experiment.
        ModelError: there is nothing to prune, or the network is the same from every seed.
        DataError: the data are of another form, or a record is damaged.
        TrainingError: a training failed, or another process works in the folder.
    """
    if type(workers) is not int or workers < 1:
        raise SettingError(f"workers is a whole number of at least 1, got {workers!r}.")
    check(experiment)
    steps = steps_of(experiment)
    with occupied(folder, experiment) as place:
        done = _done(experiment, place, steps)
        queue = Queue(steps, set(done))
        view = _View(progress, len(steps), len(done))
        missing = len(steps) - len(done)
        if workers == 1 or missing < 2:
            results = here(experiment, place, queue)
        else:
            results = in_processes(experiment, place, queue, min(workers, missing))
        with closing(results):  # ends the processes, whatever happens here
            for step, record in results:
                append_record(place.records, record)
                place.forget(step)
                done[step] = record
                view.finished(record)
        _clean(place, steps)
    return tuple(done[step] for step in steps)


def _done(experiment: Experiment, folder: Folder, steps: Sequence[Step]) -> dict[Step, LevelRecord]:
    """Return the records that are there of these trainings with these settings."""
    keys = {step: experiment.key(step.branch, step.seed) for step in steps}
    found = {Step(r.level, r.branch, r.seed): r for r in read_records(folder.records)}
    return {step: record for step, record in found.items() if keys.get(step) == record.experiment}


def _clean(folder: Folder, steps: Sequence[Step]) -> None:
    """Drop checkpoints that a killed run left of trainings that had their record."""
    for step in steps:
        folder.forget(step)


class _View:
    """Lines on stderr: what was trained, how well, and how long the rest will take."""

    def __init__(self, show: bool, number: int, done: int) -> None:
        self._show, self._number, self._done = show, number, done
        self._before, self._started = done, time.monotonic()

    def finished(self, record: LevelRecord) -> None:
        """Print a line."""
        self._done += 1
        if not self._show:
            return
        title = branches[record.branch].title
        print(
            f"{self._done} of {self._number}: {title}, seed {record.seed}, level {record.level} "
            f"({record.remaining:.1%} of the weights): validation {record.validation:.4f} "
            f"({record.seconds:.1f} s){self._rest()}",
            file=sys.stderr,
            flush=True,
        )

    def _rest(self) -> str:
        left = self._number - self._done
        each = (time.monotonic() - self._started) / (self._done - self._before)
        return f", about {left * each / 60:.0f} min left" if left * each >= 60 else ""
