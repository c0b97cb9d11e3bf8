"""Accuracy after cutting channels, beside random channels, the same shape from scratch, and Torch-Pruning.

    python -m benchmarks.structured.accuracy --network fashion_cnn    # run what is missing, print
    python -m benchmarks.structured.accuracy --network fashion_cnn --table

Records are appended to benchmarks/results/structured_accuracy.jsonl, one a run; a stopped one goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks._command import command, run_missing
from benchmarks._queue import Record, is_of, records, spread
from benchmarks.structured.runs import METHODS, Run, perform

RESULTS = Path(__file__).parents[1] / "results" / "structured_accuracy.jsonl"


@dataclass(frozen=True)
class Question:
    """What is compared; the fields are those of its runs."""

    network: str
    macs: float
    round_to: int
    epochs: int

    def runs(self, seeds: int, methods: Iterable[str]) -> list[Run]:
        """Return its runs, a seed after the other."""
        return [Run(method=name, seed=seed, **vars(self)) for seed in range(seeds) for name in methods]


QUESTIONS = {
    "fashion_cnn": Question("fashion_cnn", 0.2, 16, 10),
    "fashion_resnet20": Question("fashion_resnet20", 0.4, 8, 6),
}


def table(done: list[Record], asked: Question, seeds: int = 3) -> str:
    """Return accuracy, parameters and MACs by method as a Markdown table."""
    rows = ["| method | test, % | validation, % | parameters left | MACs left |", "|---" * 5 + "|"]
    for name, method in METHODS.items():
        runs = asked.runs(seeds, [name])
        found = [record for record in done if any(is_of(record, run) for run in runs)]
        cells = [
            spread([100 * r["test"] for r in found]),
            spread([100 * r["validation"] for r in found]),
            spread([r["params_ratio"] for r in found], 3),
            spread([r["macs_ratio"] for r in found], 3),
        ]
        rows.append(f"| {method.title} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Run what is missing and print the table."""
    parser = command(__doc__, RESULTS)
    parser.add_argument("--network", default="fashion_cnn", choices=list(QUESTIONS))
    parser.add_argument("--macs", type=float)
    parser.add_argument("--round-to", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    args = parser.parse_args()
    given = {name: getattr(args, name) for name in ("macs", "round_to", "epochs")}
    asked = replace(QUESTIONS[args.network], **{name: v for name, v in given.items() if v is not None})
    wanted = asked.runs(args.seeds, args.methods)
    from_scratch = [run for run in wanted if run.method == "scratch"]  # whose shapes are those of other runs
    for runs in ([run for run in wanted if run.method != "scratch"], from_scratch):
        run_missing(args, runs, perform, ("network", "method", "seed"))
    print(f"{asked.network} at {asked.macs:g} of its MACs, channels in multiples of {asked.round_to};")
    print(f"% of 10,000 test images, mean ± standard deviation (seeds); {asked.epochs} epochs of tuning\n")
    print(table(records(args.results), asked, args.seeds))


if __name__ == "__main__":
    main()
