"""The order of the trainings: each as soon as what it needs is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from featherweight.sparsity.lottery.branches import Step, branches
from featherweight.sparsity.lottery.experiment import Experiment


def steps_of(experiment: Experiment) -> tuple[Step, ...]:
    """Return all trainings of an experiment, with those that they need; level by level.

    Within a level those come first that others start from, so that no process waits for long.
    """
    found: set[Step] = set()
    for name in experiment.branches:
        for level in branches[name]().levels(experiment.levels):
            for seed in experiment.seeds:
                _add(Step(level, name, seed), found)
    return tuple(sorted(found, key=_order))


def _add(step: Step, found: set[Step]) -> None:
    waiting = [step]
    while waiting:
        step = waiting.pop()
        if step not in found:
            found.add(step)
            waiting += branches[step.branch]().needs(step)


def _order(step: Step) -> tuple[int, bool, int, str]:
    return step.level, not branches[step.branch].keeps_weights, step.seed, step.branch


@dataclass
class Queue:
    """Trainings to be done.

    Attributes:
        steps: all of them, in order.
        done: those that have a record.
    """

    steps: Sequence[Step]
    done: set[Step]
    _running: set[Step] = field(default_factory=set)

    @property
    def unfinished(self) -> bool:
        """Whether there is a training without a record."""
        return any(step not in self.done for step in self.steps)

    def next(self) -> Step | None:
        """Return the first training that can begin, which then runs; None: there is none now."""
        for step in self.steps:
            if step not in self.done and step not in self._running and self._can_begin(step):
                self._running.add(step)
                return step
        return None

    def finish(self, step: Step) -> None:
        """Note that a training has its record."""
        self._running.discard(step)
        self.done.add(step)

    def _can_begin(self, step: Step) -> bool:
        needed: Iterable[Step] = branches[step.branch]().needs(step)
        return all(before in self.done for before in needed)
