"""Pretrained networks pruned without any training: how near they stay, seconds and memory; resumable.

    python -m benchmarks.oneshot.compare                                   # run what is missing, print
    python -m benchmarks.oneshot.compare --networks minilm --methods sparsegpt wanda
    python -m benchmarks.oneshot.compare --table
    python -m benchmarks.oneshot.compare --networks smoke --smoke          # seconds; nothing is kept

Records are appended to benchmarks/results/oneshot.jsonl, one a run, each from a process of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks._queue import Record, is_of, missing, perform_all, records, spread
from benchmarks.oneshot.runs import METHODS, Run, perform
from benchmarks.oneshot.tasks import TASKS

RESULTS = Path(__file__).parents[1] / "results" / "oneshot.jsonl"
LEVELS = ("50%", "60%", "70%", "80%", "2:4")
SHOWN = ("efficientnet_lite0", "minilm")
SEEDS, EXAMPLES, EVALUATED = 3, 128, 256
SMOKE = 16  # examples


def asked(network: str, method: str, level: str, *, seed: int, examples: int, evaluated: int) -> Run:
    """Return a run; a level is a share of zeros, or N:M, which keeps N of M.

    A thousandth more than 1 - N/M is zero: trained networks have zeros, and groups with too many keep fewer.
    """
    if level.endswith("%"):
        sparsity, pattern = float(level[:-1]) / 100, "unstructured"
    else:
        kept, group = (int(number) for number in level.split(":"))
        sparsity, pattern = round(1 - kept / group + 0.001, 6), level
    return Run(network, method, sparsity, pattern, seed, examples, evaluated)


def wanted(
    network: str,
    methods: Iterable[str] = METHODS,
    levels: Iterable[str] = LEVELS,
    seeds: int = SEEDS,
    *,
    examples: int = EXAMPLES,
    evaluated: int = EVALUATED,
) -> Iterator[Run]:
    """Yield the runs of a network, a seed after the other."""
    levels, methods = list(levels), list(methods)
    for seed in range(seeds):
        for level in levels:
            for name in methods:
                yield asked(network, name, level, seed=seed, examples=examples, evaluated=evaluated)


def table(done: list[Record], network: str, examples: int = EXAMPLES, evaluated: int = EVALUATED) -> str:
    """Return the figure, the error of the outputs, seconds and memory, as Markdown tables."""
    task = TASKS[network]
    runs = {
        (name, level): _found(
            done, asked(network, name, level, seed=0, examples=examples, evaluated=evaluated)
        )
        for name in METHODS
        for level in LEVELS
    }
    parts = [f"{task.title}:", _grid(runs, task.figure, task.digits), "Relative error of the outputs:"]
    parts += [
        _grid(runs, "error", 3),
        "Processor seconds to prune, and most memory beyond the network and its data:",
    ]
    return "\n\n".join([*parts, _costs(runs)])


Found = dict[tuple[str, str], list[Record]]


def _grid(runs: Found, figure: str, digits: int) -> str:
    lines = [f"| method | {' | '.join(LEVELS)} |", "|---" * (len(LEVELS) + 1) + "|"]
    for name, method in METHODS.items():
        cells = [_cell(runs[name, level], figure, digits) for level in LEVELS]
        lines.append(f"| {method.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _costs(runs: Found) -> str:
    levels = [level for level in LEVELS if level in ("50%", "2:4")]
    head = [f"{level}, {unit}" for level in levels for unit in ("s", "MB")]
    lines = [f"| method | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name, method in METHODS.items():
        cells = [
            _cell(runs[name, level], figure, digits)
            for level in levels
            for figure, digits in (("processor_seconds", 1), ("peak_mb", 0))
        ]
        lines.append(f"| {method.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _found(done: list[Record], run: Run) -> list[Record]:
    return [record for record in done if is_of(record, replace(run, seed=record.get("seed", 0)))]


def _cell(found: list[Record], figure: str, digits: int) -> str:
    if any(record["failed"] for record in found):
        return "refused"
    return spread([record[figure] for record in found], digits)


def main(words: Sequence[str] | None = None) -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(SHOWN), choices=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--levels", nargs="+", default=list(LEVELS), help="such as 50%% or 2:4")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="to calibrate with")
    parser.add_argument("--evaluated", type=int, default=EVALUATED, help="examples to compare on")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="few examples, one seed; nothing is kept")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    args = parser.parse_args(words)
    if args.smoke:
        with tempfile.TemporaryDirectory() as folder:
            args.seeds, args.levels, args.examples, args.evaluated = 1, ["50%", "2:4"], SMOKE, SMOKE
            args.results = Path(folder) / RESULTS.name
            _answer(args)
    else:
        _answer(args)


def _answer(args: argparse.Namespace) -> None:
    sizes = {"examples": args.examples, "evaluated": args.evaluated}
    for network in args.networks:
        if not args.table:
            todo = missing(
                wanted(network, args.methods, args.levels, args.seeds, **sizes), records(args.results)
            )
            print(f"{len(todo)} runs to do", file=sys.stderr)
            shown = ("network", "method", "sparsity", "pattern", "seed")
            perform_all(todo, perform, args.results, args.workers, shown, figure=TASKS[network].figure)
        print(f"{args.examples} examples to calibrate with, {args.evaluated} to compare on;")
        print("mean ± standard deviation (seeds of calibration)\n")
        print(table(records(args.results), network, **sizes) + "\n")


if __name__ == "__main__":
    main()
