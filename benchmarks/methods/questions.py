"""Strategies of pruning compared, a table a question; goes on where it was stopped.

    python -m benchmarks.methods.questions criteria --network fashion_cnn        # run what is missing, print
    python -m benchmarks.methods.questions criteria --network fashion_cnn --table
    python -m benchmarks.methods.questions allocation dynamic --network fashion_resnet20
    python -m benchmarks.methods.questions criteria --smoke                       # a tiny network, in seconds

Records are appended to benchmarks/results/strategies.jsonl, one a run; questions share them. Runs at 90% come
first, from every seed; other levels from the first one, unless --all-seeds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks._queue import Record, is_of, missing, perform_all, records, spread
from benchmarks.methods.strategies import LEVELS, MAIN, SMOKE, Run, perform

from featherweight.sparsity.allocation import allocations
from featherweight.sparsity.criteria import criteria

RESULTS = Path(__file__).parents[1] / "results" / "strategies.jsonl"
SEEDS = 3


@dataclass(frozen=True)
class Row:
    """A row of a table: a strategy, at every level.

    Attributes:
        title: its name in the table.
        criterion: as in Run.
        allocation: as in Run.
        schedule: as in Run.
        epochs: as in Run; None: those of the question.
    """

    title: str
    criterion: str = ""
    allocation: str = ""
    schedule: str = ""
    epochs: int | None = None

    def run(self, asked: Asked, sparsity: float, seed: int) -> Run:
        """Return a run of this row."""
        epochs = asked.epochs if self.epochs is None else self.epochs
        if not self.criterion:
            return Run.dense(asked.network, asked.question.trained, seed, epochs)
        axes = (self.criterion, self.allocation, self.schedule)
        return Run(asked.network, asked.question.trained, *axes, sparsity, seed, epochs)


@dataclass(frozen=True)
class Question:
    """A question and the parts of its answer.

    Attributes:
        title: what its tables are about.
        parts: by title, the rows of a table each.
        trained: whether the strategies start from trained weights.
        epochs: by default.
    """

    title: str
    parts: Callable[[], dict[str, list[Row]]]
    trained: bool
    epochs: int

    def rows(self) -> list[Row]:
        """Return the rows of all parts."""
        return [row for rows in self.parts().values() for row in rows]


@dataclass(frozen=True)
class Asked:
    """A question about a network.

    Attributes:
        question: which.
        network: as in Run.
        epochs: of training, where a strategy trains.
    """

    question: Question
    network: str
    epochs: int


def learns(criterion: str) -> bool:
    """Whether a criterion learns while the network trains, so that it cannot prune before."""
    return hasattr(criteria[criterion], "fresh")


def _criteria() -> dict[str, list[Row]]:
    at_once = [name for name in criteria if not learns(name)]
    dense = Row("dense")
    return {
        "pruned at once, not trained": [Row(name, name, "global", "", 0) for name in at_once],
        "pruned at once, then fine-tuned": [
            dense,
            *(Row(name, name, "global", "one_shot") for name in at_once),
        ],
        "pruned while fine-tuned": [dense, *(Row(name, name, "global", "cubic") for name in criteria)],
    }


def _allocation() -> dict[str, list[Row]]:
    names = list(allocations)
    return {
        "magnitude, pruned at once, not trained": [Row(name, "magnitude", name, "", 0) for name in names],
        "magnitude, pruned at once, then fine-tuned": [
            Row("dense"),
            *(Row(name, "magnitude", name, "one_shot") for name in names),
        ],
    }


def _dynamic() -> dict[str, list[Row]]:
    return {
        "from new weights": [
            Row("dense"),
            Row("random sparse, fixed (ERK)", "random", "erk", "one_shot"),
            Row("SET (ERK)", "random", "erk", "set"),
            Row("RigL (ERK)", "random", "erk", "rigl"),
            Row("AC/DC (global magnitude)", "magnitude", "global", "acdc"),
            Row("gradual (global magnitude)", "magnitude", "global", "cubic"),
        ]
    }


QUESTIONS = {
    "criteria": Question("criteria, allocation global", _criteria, trained=True, epochs=2),
    "allocation": Question("allocations", _allocation, trained=True, epochs=2),
    "dynamic": Question("dynamic sparse training", _dynamic, trained=False, epochs=8),
}


def wanted(
    asked: Asked, seeds: int, levels: Iterable[float], names: Sequence[str] = (), all_seeds: bool = False
) -> Iterator[Run]:
    """Yield the runs of a question, the most telling ones first, without repeats.

    Args:
        asked: the question.
        seeds: how many at MAIN, and for what prunes nothing.
        levels: sparsities.
        names: criteria to run; none: all.
        all_seeds: whether the other levels are run from every seed too.
    """
    found = dict[Run, None]()
    for level in sorted(levels, key=lambda each: (each != MAIN, each)):
        for seed in range(seeds if level == MAIN or all_seeds else 1):
            for row in asked.question.rows():
                if not names or row.criterion in names or not row.criterion:
                    found[row.run(asked, level, seed)] = None
    yield from found


def table(done: list[Record], asked: Asked, levels: Iterable[float] = LEVELS) -> str:
    """Return test accuracy in per cent as Markdown tables, mean and standard deviation over seeds."""
    return "\n\n".join(
        f"{title}:\n\n{_part(done, asked, rows, sorted(levels))}"
        for title, rows in asked.question.parts().items()
    )


def _part(done: list[Record], asked: Asked, rows: list[Row], levels: list[float]) -> str:
    titles = ["strategy", *(f"{level:.0%}" for level in levels)]
    shows_density = not asked.question.trained
    lines = [f"| {' | '.join(titles + ['mean density while training'] * shows_density)} |"]
    lines.append("|---" * (len(titles) + shows_density) + "|")
    for row in rows:
        cells = [_cell(_found(done, row.run(asked, level, 0))) for level in levels]
        if not row.criterion:  # the same at every level
            cells = [cells[0]] + [""] * (len(levels) - 1)
        if shows_density:
            cells.append(_density(_found(done, row.run(asked, MAIN, 0))))
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _found(done: list[Record], run: Run) -> list[Record]:
    """Return the records of a run from all seeds."""
    return [record for record in done if is_of(record, replace(run, seed=record.get("seed", 0)))]


def _cell(found: list[Record]) -> str:
    if any(record["failed"] for record in found):
        return "refused"
    return spread([100 * record["test"] for record in found])


def _density(found: list[Record]) -> str:
    return f"{found[0]['density']:.2f}" if found else "not run"


def main(words: Sequence[str] | None = None) -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="+", choices=list(QUESTIONS))
    parser.add_argument("--network", default="fashion_cnn")
    parser.add_argument("--epochs", type=int, help="other than the question's")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"at {MAIN:.0%}")
    parser.add_argument("--all-seeds", action="store_true", help="the other levels from every seed too")
    parser.add_argument("--levels", nargs="+", type=float, default=list(LEVELS), help="sparsities")
    parser.add_argument("--criteria", nargs="+", default=[], choices=list(criteria), metavar="NAME")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="a tiny network, one level; nothing is kept")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    args = parser.parse_args(words)
    if args.smoke:
        with tempfile.TemporaryDirectory() as folder:
            args.network, args.epochs, args.seeds, args.levels = SMOKE, 2, 1, [MAIN]
            args.results = Path(folder) / RESULTS.name
            _answer(args)
    else:
        _answer(args)


def _answer(args: argparse.Namespace) -> None:
    for name in args.questions:
        question = QUESTIONS[name]
        asked = Asked(question, args.network, question.epochs if args.epochs is None else args.epochs)
        if not args.table:
            runs = wanted(asked, args.seeds, args.levels, args.criteria, args.all_seeds)
            todo = missing(runs, records(args.results))
            print(f"{len(todo)} runs to do", file=sys.stderr)
            shown = ("criterion", "allocation", "schedule", "sparsity", "seed")
            perform_all(todo, perform, args.results, args.workers, shown)
        print(f"{args.network}: {question.title}; test accuracy in %, mean ± standard deviation (seeds);")
        print(f"{asked.epochs} epochs where a strategy trains\n")
        print(table(records(args.results), asked, args.levels) + "\n")


if __name__ == "__main__":
    main()
