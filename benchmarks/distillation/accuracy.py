"""Accuracy of students on Fashion-MNIST, alone and with a teacher; goes on where it was stopped.

    python -m benchmarks.distillation.accuracy                 # choose, run what is missing, print
    python -m benchmarks.distillation.accuracy --table         # print what is there

Each method is tuned over three candidates on the validation split, with one pass and the first seed; the
best is then run from every seed. Records are appended to benchmarks/results/distillation.jsonl, one a run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks._command import command
from benchmarks._queue import Record, is_of, missing, perform_all, records, spread
from benchmarks.distillation.runs import Run, fill_caches, perform

RESULTS = Path(__file__).parents[1] / "results" / "distillation.jsonl"
PASSES, SEEDS, RATE = 3, 3, 0.1
RESNET, VIT = "fashion_resnet20", "fashion_vit_c_tiny"


@dataclass(frozen=True)
class Row:
    """A row of a table: a method with its candidates.

    Attributes:
        title: its name in the table.
        teacher: as in Run.
        candidates: (loss, alpha, rate), three of them; or the title of the row whose choice is taken.
        labels: as in Run.
        unlabelled: as in Run.
    """

    title: str
    teacher: str
    candidates: tuple[tuple[str, float, float], ...] | str
    labels: int = 0
    unlabelled: bool = True

    def run(self, candidate: tuple[str, float, float], passes: int, seed: int, tuning: bool) -> Run:
        """Return a run of this row."""
        loss, alpha, rate = candidate
        return Run(self.teacher, loss, alpha, rate, self.labels, self.unlabelled, passes, seed, tuning)


ALONE = tuple(("", 0.0, rate) for rate in (0.05, 0.1, 0.2))


def _mixed(loss: str, *alphas: float) -> tuple[tuple[str, float, float], ...]:
    return tuple((loss, alpha, RATE) for alpha in alphas)


def _weighted(loss: str, *weights: float) -> tuple[tuple[str, float, float], ...]:
    return tuple((f"{weight:g}*{loss}", 0.5, RATE) for weight in weights)


KD = _mixed("kd", 0.3, 0.6, 0.9)
ROWS = {
    row.title: row
    for row in (
        Row("alone", "", ALONE),
        Row("kd", RESNET, KD),
        Row("dkd", RESNET, _weighted("dkd", 0.1, 0.3, 1)),
        Row("dist", RESNET, _mixed("dist", 0.3, 0.6, 0.9)),
        Row("hints", RESNET, _weighted("hints", 0.1, 1, 10)),
        Row("at", RESNET, _weighted("at", 1, 10, 100)),
        Row("rkd", RESNET, _weighted("rkd", 0.1, 1, 10)),
        Row("crd", RESNET, _weighted("crd", 0.1, 0.5, 2)),
        Row("kd, random teacher", f"random {RESNET}", "kd"),
        Row("kd, vision transformer", VIT, KD),
        Row("1,000 labels: alone", "", ALONE, labels=1000, unlabelled=False),
        Row("1,000 labels: kd on them", RESNET, KD, labels=1000, unlabelled=False),
        Row("1,000 labels: kd, the others unlabelled", RESNET, KD, labels=1000),
        Row("1,000 labels: kd, vision transformer", VIT, KD, labels=1000),
    )
}


def tuning_runs(rows: list[Row]) -> Iterator[Run]:
    """Yield the runs that choose."""
    for row in rows:
        if not isinstance(row.candidates, str):
            for candidate in row.candidates:
                yield row.run(candidate, 1, 0, tuning=True)


def chosen(row: Row, done: list[Record]) -> tuple[str, float, float] | None:
    """Return the candidate of ``row`` that validates best; None where not all were tried."""
    source = ROWS[row.candidates] if isinstance(row.candidates, str) else row
    found: list[tuple[float, tuple[str, float, float]]] = []
    for candidate in source.candidates:
        run = source.run(candidate, 1, 0, tuning=True)  # pyright: ignore[reportArgumentType]
        scores = [record["validation"] for record in done if is_of(record, run)]
        if not scores:
            return None
        found.append((scores[0], candidate))  # pyright: ignore[reportArgumentType]
    return max(found)[1]


def final_runs(rows: list[Row], done: list[Record], seeds: int, passes: int) -> Iterator[Run]:
    """Yield the runs of the table, seed by seed."""
    for seed in range(seeds):
        for row in rows:
            candidate = chosen(row, done)
            if candidate is not None:
                yield row.run(candidate, passes, seed, tuning=False)


def table(done: list[Record], passes: int = PASSES) -> str:
    """Return accuracy in per cent as a Markdown table, with the paired difference to the student alone."""
    lines = ["| student | chosen | validation | test | more than alone |", "|---|---|---|---|---|"]
    for row in ROWS.values():
        candidate = chosen(row, done)
        if candidate is None:
            lines.append(f"| {row.title} | not run | | | |")
            continue
        run = row.run(candidate, passes, 0, tuning=False)
        mine = {r["seed"]: r for r in done if is_of(r, replace(run, seed=r["seed"]))}
        base = _base(row, done, passes)
        gains = [100 * (r["test"] - base[seed]["test"]) for seed, r in mine.items() if seed in base]
        loss, alpha, rate = candidate
        words = f"{loss}, alpha {alpha:g}" if loss else f"rate {rate:g}"
        cells = [spread([100 * r[split] for r in mine.values()]) for split in ("validation", "test")]
        lines.append(f"| {row.title} | {words} | {cells[0]} | {cells[1]} | {spread(gains)} |")
    return "\n".join(lines)


def _base(row: Row, done: list[Record], passes: int) -> dict[int, Record]:
    """Return the student alone, with as many labels, by seed."""
    alone = ROWS["1,000 labels: alone" if row.labels else "alone"]
    candidate = chosen(alone, done)
    if candidate is None:
        return {}
    run = alone.run(candidate, passes, 0, tuning=False)
    return {r["seed"]: r for r in done if is_of(r, replace(run, seed=r["seed"]))}


def main() -> None:
    """Choose, run what is missing and print the table."""
    parser = command(__doc__, RESULTS)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--passes", type=int, default=PASSES)
    args = parser.parse_args()
    rows = [ROWS[name] for name in args.rows]
    if not args.table:
        shown = ("teacher", "loss", "alpha", "rate", "labels", "seed")
        tune = missing(tuning_runs(rows), records(args.results))
        print(f"{len(tune)} runs to choose by", file=sys.stderr)
        fill_caches(tune)
        perform_all(tune, perform, args.results, args.workers, shown)
        runs = missing(
            final_runs(rows, records(args.results), args.seeds, args.passes), records(args.results)
        )
        print(f"{len(runs)} runs to do", file=sys.stderr)
        fill_caches(runs)
        perform_all(runs, perform, args.results, args.workers, shown)
    print("Fashion-MNIST, accuracy in %, mean ± standard deviation (seeds); test: 10,000 images\n")
    print(table(records(args.results), args.passes))


if __name__ == "__main__":
    main()
