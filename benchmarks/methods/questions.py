"""Strategies of pruning compared, a table a question; goes on where it was stopped.

    python -m benchmarks.methods.questions criteria --network fashion_cnn        # run what is missing, print
    python -m benchmarks.methods.questions criteria --network fashion_cnn --table
    python -m benchmarks.methods.questions allocation dynamic --network fashion_resnet20
    python -m benchmarks.methods.questions criteria --smoke                       # a tiny network, in seconds

Records are appended to benchmarks/results/strategies.jsonl, one a run; questions share them. All strategies
are run at all levels from all seeds, the most telling levels first. Where torch sees a GPU the networks are
on it: on one H200 (--workers 16, under nvidia-cuda-mps-control) all questions about ResNet-20 take five
minutes; about the small CNN they take two cores about three hours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._command import command, kept_unless_smoke, run_missing
from benchmarks._queue import Record, of_every_seed, spread
from benchmarks.methods.strategies import (
    BATCH,
    CALIBRATION,
    EFFORTS,
    LEVELS,
    MAIN,
    SMOKE,
    Effort,
    Run,
    perform,
    settings_of,
)

from featherweight.sparsity.allocation import allocations
from featherweight.sparsity.criteria import criteria

RESULTS = Path(__file__).parents[1] / "results" / "strategies.jsonl"
SEEDS = 3
FIRST = (MAIN, 0.98)  # the levels that are run first


@dataclass(frozen=True)
class Row:
    """A row of a table: a strategy, at every level.

    Attributes:
        title: its name in the table.
        criterion: as in Run.
        allocation: as in Run.
        schedule: as in Run; "": it is not trained.
    """

    title: str
    criterion: str = ""
    allocation: str = ""
    schedule: str = ""

    def run(self, asked: Asked, sparsity: float, seed: int) -> Run:
        """Return a run of this row."""
        effort, trained = asked.effort, asked.question.trained
        if not self.criterion:
            return Run.dense(asked.network, trained, seed, effort.epochs, effort.batches)
        axes = (self.criterion, self.allocation, self.schedule)
        epochs, batches = (effort.epochs, effort.batches) if self.schedule else (0, 0)
        return Run(asked.network, trained, *axes, sparsity, seed, epochs, batches)


@dataclass(frozen=True)
class Question:
    """A question and the parts of its answer.

    Attributes:
        title: what its tables are about.
        parts: by title, the rows of a table each.
        trained: whether the strategies start from trained weights.
    """

    title: str
    parts: Callable[[], dict[str, list[Row]]]
    trained: bool

    def rows(self) -> list[Row]:
        """Return the rows of all parts."""
        return [row for rows in self.parts().values() for row in rows]


@dataclass(frozen=True)
class Asked:
    """A question about a network.

    Attributes:
        question: which.
        network: as in Run.
        effort: of the strategies that train.
    """

    question: Question
    network: str
    effort: Effort

    @classmethod
    def of(cls, question: str, network: str, epochs: int | None = None, batches: int | None = None) -> Asked:
        """Return what is asked by name; None: the effort of EFFORTS."""
        found = QUESTIONS[question]
        usual = EFFORTS[network][0 if found.trained else 1]
        return cls(found, network, Effort(epochs or usual.epochs, batches or usual.batches))


def learns(criterion: str) -> bool:
    """Whether a criterion learns while the network trains, so that it cannot prune before."""
    return hasattr(criteria[criterion], "fresh")


def _criteria() -> dict[str, list[Row]]:
    at_once = [name for name in criteria if not learns(name)]
    dense = Row("dense")
    return {
        "pruned at once, not trained": [Row(name, name, "global") for name in at_once],
        "pruned at once, then fine-tuned": [
            dense,
            *(Row(name, name, "global", "one_shot") for name in at_once),
        ],
        "pruned while fine-tuned": [
            dense,
            *(Row(name, name, "global", "cubic") for name in criteria),
        ],
    }


def _allocation() -> dict[str, list[Row]]:
    names = list(allocations)
    return {
        "magnitude, pruned at once, not trained": [Row(name, "magnitude", name) for name in names],
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
            Row("AC/DC (ERK magnitude)", "magnitude", "erk", "acdc"),
            Row("AC/DC (ERK magnitude), turns later and longer", "magnitude", "erk", "acdc_later"),
            Row("AC/DC (global magnitude)", "magnitude", "global", "acdc"),
            Row("gradual (global magnitude)", "magnitude", "global", "cubic"),
        ]
    }


QUESTIONS = {
    "criteria": Question("criteria, allocation global", _criteria, trained=True),
    "allocation": Question("allocations", _allocation, trained=True),
    "dynamic": Question("dynamic sparse training", _dynamic, trained=False),
}


def wanted(asked: Asked, seeds: int, levels: Iterable[float], names: Sequence[str] = ()) -> Iterator[Run]:
    """Yield the runs of a question, the most telling ones first, without repeats.

    Args:
        asked: the question.
        seeds: how many.
        levels: sparsities.
        names: criteria to run; none: all.
    """
    rows = [row for row in asked.question.rows() if not names or row.criterion in (*names, "")]
    found = dict[Run, None]()
    for level in sorted(levels, key=lambda each: (each != MAIN, each not in FIRST, each)):
        for seed in range(seeds):
            for row in rows:
                found[row.run(asked, level, seed)] = None
    yield from found


def table(done: list[Record], asked: Asked, levels: Iterable[float] = LEVELS) -> str:
    """Return what was run, and test accuracy in per cent, mean and deviation over seeds, in Markdown."""
    parts = [
        f"{title}:\n\n{_part(done, asked, rows, sorted(levels))}"
        for title, rows in asked.question.parts().items()
    ]
    return "\n\n".join([f"{caption(asked)} {_device(done, asked, levels)}".rstrip(), *parts])


def _device(done: list[Record], asked: Asked, levels: Iterable[float]) -> str:
    runs = {row.run(asked, level, 0) for row in asked.question.rows() for level in levels}
    found = [record.get("device", "cpu") for run in runs for record in of_every_seed(done, run)]
    on_gpu = sorted(set(found) - {"cpu"})
    part = "" if "cpu" not in found else f" ({len(found) - found.count('cpu')} of {len(found)} runs)"
    return f"Run on an {', '.join(on_gpu)}{part}." if on_gpu else ""


def caption(asked: Asked) -> str:
    """Return what was run, in words."""
    effort, trained = asked.effort, asked.question.trained
    like = Run.dense(asked.network, trained, 0, effort.epochs, effort.batches)
    start, rate = "the same" if trained else "new", settings_of(like).learning_rate
    parts = [
        f"{asked.network}, {asked.question.title}: accuracy in % on the whole test set, mean ± standard "
        f"deviation (seeds), or that of one seed.",
        f"Strategies that train start from {start} weights and train for {effort.words()}, at a one-cycle "
        f"rate of {rate:g} at most; the last epoch is taken.",
        f"Criteria that look at data look at {CALIBRATION * BATCH} training images"
        + (", and so does batch norm where nothing is trained." if trained else "."),
    ]
    return " ".join(parts)


def _part(done: list[Record], asked: Asked, rows: list[Row], levels: list[float]) -> str:
    titles = ["strategy", *(f"{level:.0%}" for level in levels)]
    shows_density = not asked.question.trained
    lines = [f"| {' | '.join(titles + ['mean density while training'] * shows_density)} |"]
    lines.append("|---" * (len(titles) + shows_density) + "|")
    for row in rows:
        cells = [_cell(done, asked, row, level) for level in levels]
        if not row.criterion:  # the same at every level
            cells = [cells[0]] + [""] * (len(levels) - 1)
        if shows_density:
            cells.append(_density(of_every_seed(done, row.run(asked, MAIN, 0))))
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(done: list[Record], asked: Asked, row: Row, level: float) -> str:
    found = of_every_seed(done, row.run(asked, level, 0))
    if any(record["failed"] for record in found):
        return "refused"
    return spread([100 * record["test"] for record in found])


def _density(found: list[Record]) -> str:
    trained = [record["density"] for record in found if not record["failed"]]
    return f"{trained[0]:.2f}" if trained else "not run"


def main(words: Sequence[str] | None = None) -> None:
    """Run what is missing and print the tables."""
    parser = command(__doc__, RESULTS, smoke="a tiny network, one level")
    parser.add_argument("questions", nargs="+", choices=list(QUESTIONS))
    parser.add_argument("--network", default="fashion_cnn", choices=list(EFFORTS))
    parser.add_argument("--epochs", type=int, help="other than those of EFFORTS")
    parser.add_argument("--batches", type=int, help="of an epoch; other than those of EFFORTS")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--levels", nargs="+", type=float, default=list(LEVELS), help="sparsities")
    parser.add_argument("--criteria", nargs="+", default=[], choices=list(criteria), metavar="NAME")
    args = parser.parse_args(words)
    with kept_unless_smoke(args, network=SMOKE, seeds=1, levels=[MAIN]) as settings:
        _answer(settings)


def _answer(args: argparse.Namespace) -> None:
    shown = ("criterion", "allocation", "schedule", "sparsity", "seed")
    for name in args.questions:
        asked = Asked.of(name, args.network, args.epochs, args.batches)
        runs = wanted(asked, args.seeds, args.levels, args.criteria)
        done = run_missing(args, runs, perform, shown, fresh=False)
        print(table(done, asked, args.levels) + "\n")


if __name__ == "__main__":
    main()
