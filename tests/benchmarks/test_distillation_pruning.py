"""What the table of pruning with a teacher is made of: as much tuning of both sides, pairs of equal seeds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.distillation.pruning import (
    TASKS,
    TAUGHT,
    WITHOUT,
    Run,
    chosen,
    final_runs,
    table,
    tuning_runs,
)

NETWORK = "fashion_cnn"


def record(run: Run, validation: float, test: float | None = None) -> dict[str, Any]:
    return asdict(run) | {"validation": validation, "test": test}


def tuned() -> list[dict[str, Any]]:
    """Return records by which the last rate and the second share of the teacher are chosen."""
    best = (WITHOUT[2], TAUGHT[1])
    return [record(run, 0.9 if (run.alpha, run.rate) in best else 0.5) for run in tuning_runs(NETWORK)]


def test_both_sides_have_as_many_candidates_and_choosing_reads_no_test() -> None:
    assert len(WITHOUT) == len(TAUGHT)
    assert all(run.tuning for run in tuning_runs(NETWORK))


def test_the_candidate_that_validates_best_is_run_from_every_seed() -> None:
    assert chosen(NETWORK, WITHOUT, tuned()) == WITHOUT[2]
    assert chosen(NETWORK, TAUGHT, tuned()) == TAUGHT[1]
    assert chosen(NETWORK, TAUGHT, tuned()[:-1]) is None
    runs = list(final_runs(NETWORK, 5, 2, tuned()))
    assert len(runs) == 2 * len(TASKS) * 2
    assert not any(run.tuning for run in runs)


def test_differences_are_between_equal_seeds() -> None:
    done = tuned()
    for run in final_runs(NETWORK, 5, 2, done):
        test = 0.80 + 0.1 * run.seed + (0.01 if run.alpha else 0)
        done.append(record(run, 0.0, test))
    assert table(done, NETWORK, 5).splitlines()[2].endswith("| 86.00 ± 7.07 (2) | 1.00 ± 0.00 (2) |")
    assert "1.00 ± 0.00 (2)" not in table(done[:-1], NETWORK, 5).splitlines()[-1]
    assert "not been run" in table([], NETWORK, 5)
