"""Accuracy of pruning methods at several sparsities and seeds; goes on where it was stopped.

    python -m benchmarks.methods.accuracy --network fashion_cnn --epochs 5   # run what is missing, print
    python -m benchmarks.methods.accuracy --network fashion_cnn --table      # print what is there

Records are appended to benchmarks/results/accuracy.jsonl, one a run. Runs at 90% come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks._command import command, run_missing
from benchmarks._queue import Record, spread
from benchmarks.methods.runs import LEVELS, MAIN, METHODS, Run, perform

RESULTS = Path(__file__).parents[1] / "results" / "accuracy.jsonl"


def wanted(
    network: str, epochs: int, seeds: int, methods: Iterable[str], levels: Iterable[float]
) -> Iterator[Run]:
    """Yield all runs of the table at these levels, the most telling ones first."""
    asked = set(levels)
    main = [(level, seed) for seed in range(seeds) for level in (MAIN, 0.0)]
    others = [(level, seed) for seed in range(seeds) for level in LEVELS if level != MAIN]
    for level, seed in main + others:
        for name in methods:
            method = METHODS[name]
            repeats = method.seeded and (method.all_seeds or level in (MAIN, 0.0))
            if level in asked.intersection(method.levels) and (repeats or seed == 0):
                yield Run(network, name, level, seed, epochs if method.trains else 0)


def table(done: list[Record], network: str, epochs: int) -> str:
    """Return test accuracy in per cent as a Markdown table: mean and standard deviation over seeds."""
    levels = sorted((0.0, *LEVELS))
    rows = ["| method | " + " | ".join(f"{level:.0%}" for level in levels) + " |", "|---" * 7 + "|"]
    for name, method in METHODS.items():
        run = Run(network, name, 0.0, 0, epochs if method.trains else 0)
        cells = [
            _cell(done, replace(run, sparsity=level)) if level in method.levels else "" for level in levels
        ]
        rows.append(f"| {method.title} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _cell(done: list[Record], run: Run) -> str:
    keys = ("network", "method", "sparsity", "epochs")
    return spread([100 * r["test"] for r in done if all(r[k] == getattr(run, k) for k in keys)])


def main() -> None:
    """Run what is missing and print the table."""
    parser = command(__doc__, RESULTS)
    parser.add_argument("--network", default="fashion_cnn")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--levels", nargs="+", type=float, default=[0.0, *LEVELS], help="sparsities")
    args = parser.parse_args()
    runs = wanted(args.network, args.epochs, args.seeds, args.methods, args.levels)
    done = run_missing(args, runs, perform, ("method", "sparsity", "seed"))
    print(f"{args.network}, test accuracy in % on 10,000 images, mean ± standard deviation (seeds);")
    print(f"{args.epochs} epochs of fine-tuning where a method trains\n")
    print(table(done, args.network, args.epochs))


if __name__ == "__main__":
    main()
