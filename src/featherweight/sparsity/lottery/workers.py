"""Trainings in processes of their own, which end with the one that started them, however that ends."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Generator
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any

import torch

from featherweight.errors import FeatherweightError, SettingError, TrainingError
from featherweight.sparsity.lottery.branches import Step
from featherweight.sparsity.lottery.experiment import Experiment
from featherweight.sparsity.lottery.folder import Folder
from featherweight.sparsity.lottery.lineage import Lineage
from featherweight.sparsity.lottery.queue import Queue
from featherweight.sparsity.lottery.records import LevelRecord
from featherweight.sparsity.lottery.training import perform


def here(experiment: Experiment, folder: Folder, queue: Queue) -> Generator[tuple[Step, LevelRecord]]:
    """Yield the records of all trainings of ``queue``, one after the other in this process."""
    while (step := queue.next()) is not None:
        yield step, perform(Lineage(experiment, folder, step.seed), step)
        queue.finish(step)


def in_processes(
    experiment: Experiment, folder: Folder, queue: Queue, workers: int
) -> Generator[tuple[Step, LevelRecord]]:
    """Yield the same from ``workers`` processes, as they come.

    Raises:
        SettingError: network or data cannot be handed to another process.
        TrainingError: a process ended without an answer.
        FeatherweightError: what was raised in one of them.
    """
    team: list[_Worker] = []
    try:
        for _ in range(workers):
            team.append(_Worker(experiment, folder, max(1, torch.get_num_threads() // workers)))
        while queue.unfinished:
            for worker in team:
                if worker.step is None and (step := queue.next()) is not None:
                    worker.give(step)
            busy = [worker for worker in team if worker.step is not None]
            ready = connection.wait([worker.line for worker in busy])
            for worker in [one for one in busy if one.line in ready]:
                step, record = worker.answer()
                yield step, record
                queue.finish(step)
    finally:
        for worker in team:
            worker.stop()


class _Worker:
    """A process, and the training that it is at."""

    def __init__(self, experiment: Experiment, folder: Folder, threads: int) -> None:
        context = get_context("spawn")
        self.line, theirs = context.Pipe()
        self.step: Step | None = None
        self._process = context.Process(target=_serve, args=(theirs, experiment, folder, threads))
        try:
            self._process.start()
        except (pickle.PickleError, AttributeError, TypeError) as error:  # what pickle raises
            raise SettingError(
                f"network= and data= cannot be handed to other processes ({error}). Give functions at the "
                f"top of a module that can be imported, or workers=1."
            ) from error
        finally:
            theirs.close()

    def give(self, step: Step) -> None:
        """Start a training."""
        self.step = step
        self.line.send(step)

    def answer(self) -> tuple[Step, LevelRecord]:
        """Return the training that was given and its record, which is there; raises what was raised there."""
        step, self.step = self.step, None
        assert step is not None
        try:
            answer = self.line.recv()
        except EOFError:
            self._process.join()
            raise TrainingError(
                f"The process that trained {step} ended without an answer (exit code "
                f"{self._process.exitcode}). If memory ran out, use fewer workers; the same call goes on."
            ) from None
        if isinstance(answer, BaseException):
            raise answer
        return step, answer

    def stop(self) -> None:
        """End the process."""
        self.line.close()
        if self._process.pid is not None:
            self._process.terminate()
            self._process.join()


def _serve(line: Connection, experiment: Experiment, folder: Folder, threads: int) -> None:
    """Train what is asked for until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    while True:
        try:
            step = line.recv()
            line.send(_answer(experiment, folder, step))
        except (EOFError, BrokenPipeError, KeyboardInterrupt):
            return


def _answer(experiment: Experiment, folder: Folder, step: Step) -> Any:
    try:
        return perform(Lineage(experiment, folder, step.seed), step)
    except FeatherweightError as error:
        return error
    except Exception as error:  # whatever the user's network or data raise, which may not be picklable
        return TrainingError(f"{step}: {type(error).__name__}: {error}\n{traceback.format_exc()}")


def _end_with_parent() -> None:
    """End this process at once when the parent was killed: what it writes is the next run's to write."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
