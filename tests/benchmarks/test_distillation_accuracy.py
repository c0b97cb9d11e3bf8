"""What the table of students is made of: the choice on validation, and pairs of equal seeds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.distillation.accuracy import ROWS, chosen, final_runs, table, tuning_runs


def record(run: Any, validation: float, test: float | None = None) -> dict[str, Any]:
    return asdict(run) | {"validation": validation, "test": test}


def tuned(name: str, best: int) -> list[dict[str, Any]]:
    runs = list(tuning_runs([ROWS[name]]))
    return [record(run, 0.9 if number == best else 0.5) for number, run in enumerate(runs)]


def test_the_candidate_that_validates_best_is_chosen_once_all_were_tried() -> None:
    row = ROWS["kd"]
    done = tuned("kd", best=2)
    assert chosen(row, done[:2]) is None
    assert chosen(row, done) == row.candidates[2]
    assert list(final_runs([row], done[:2], seeds=3, passes=1)) == []


def test_rows_that_take_over_a_choice_do_not_choose() -> None:
    control = ROWS["kd, random teacher"]
    assert list(tuning_runs([control])) == []
    assert chosen(control, tuned("kd", best=1)) == ROWS["kd"].candidates[1]


def test_choosing_reads_no_test() -> None:
    assert all(run.tuning for run in tuning_runs(list(ROWS.values())))
    runs = list(final_runs([ROWS["alone"]], tuned("alone", best=0), seeds=3, passes=2))
    assert [run.seed for run in runs] == [0, 1, 2]
    assert not any(run.tuning for run in runs)


def test_gains_are_over_the_same_seed() -> None:
    done = tuned("alone", best=0) + tuned("kd", best=0)
    alone = list(final_runs([ROWS["alone"]], done, seeds=2, passes=1))
    taught = list(final_runs([ROWS["kd"]], done, seeds=2, passes=1))
    done += [record(run, 0.0, test) for run, test in zip(alone, (0.80, 0.90), strict=True)]
    done += [record(run, 0.0, test) for run, test in zip(taught, (0.81, 0.91), strict=True)]
    line = next(line for line in table(done, passes=1).splitlines() if line.startswith("| kd |"))
    assert line.endswith("| 86.00 ± 7.07 (2) | 1.00 ± 0.00 (2) |")
    one = next(line for line in table(done[:-1], passes=1).splitlines() if line.startswith("| kd |"))
    assert one.endswith("| 81.00 | 1.00 |")
