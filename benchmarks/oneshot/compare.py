"""Pretrained networks pruned without any training: how near they stay, seconds and memory; resumable.

    python -m benchmarks.oneshot.compare                                   # run what is missing, print
    python -m benchmarks.oneshot.compare --networks minilm --methods sparsegpt wanda
    python -m benchmarks.oneshot.compare --table
    python -m benchmarks.oneshot.compare --networks smoke --smoke          # seconds; nothing is kept

Records are appended to benchmarks/results/oneshot.jsonl, one a run, each from a process of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks._command import command, kept_unless_smoke, run_missing
from benchmarks._queue import Record, of_every_seed, spread
from benchmarks.oneshot.runs import METHODS, Run, methods_for, perform
from benchmarks.oneshot.tasks import TASKS

RESULTS = Path(__file__).parents[1] / "results" / "oneshot.jsonl"
LEVELS = ("50%", "60%", "70%", "80%", "2:4")
SHOWN = ("efficientnet_lite0", "minilm", "fashion_resnet20")
SEEDS = 3  # a pretrained network, with all methods and levels, takes a core an hour for each
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
    examples: int | None = None,
    evaluated: int | None = None,
) -> Iterator[Run]:
    """Yield the runs of a network, a seed after the other; of as many examples as its task has, for None."""
    examples, evaluated = examples or TASKS[network].examples, evaluated or TASKS[network].evaluated
    levels, names = list(levels), [name for name in methods if name in methods_for(TASKS[network])]
    for seed in range(seeds):
        for level in levels:
            for name in names:
                yield asked(network, name, level, seed=seed, examples=examples, evaluated=evaluated)


def table(
    done: list[Record],
    network: str,
    methods: Iterable[str] = METHODS,
    levels: Iterable[str] = LEVELS,
    *,
    examples: int | None = None,
    evaluated: int | None = None,
) -> str:
    """Return the figure, the error of the outputs, seconds and memory, as Markdown tables."""
    task = TASKS[network]
    examples, evaluated = examples or task.examples, evaluated or task.evaluated
    levels, names = list(levels), [name for name in methods if name in methods_for(task)]
    runs = {
        (name, level): of_every_seed(
            done, asked(network, name, level, seed=0, examples=examples, evaluated=evaluated)
        )
        for name in names
        for level in levels
    }
    caption = f"{examples} examples to calibrate with, {evaluated} to compare on, {_seeds(runs)}"
    parts = [
        f"{task.title} ({caption}):",
        _grid(runs, task.figure, task.digits),
        "Relative error of the outputs:",
    ]
    parts += [
        _grid(runs, "error", 3),
        "Processor seconds to prune, and most memory beyond the network and its data:",
    ]
    return "\n\n".join([*parts, _costs(runs)])


Found = dict[tuple[str, str], list[Record]]


def _levels(runs: Found) -> list[str]:
    return list(dict.fromkeys(level for _, level in runs))


def _seeds(runs: Found) -> str:
    numbers = {record["seed"] for found in runs.values() for record in found}
    if len(numbers) < 2:
        return "one seed"
    return "mean ± standard deviation of as many seeds of calibration as stand in brackets, one where none do"


def _grid(runs: Found, figure: str, digits: int) -> str:
    levels = _levels(runs)
    lines = [f"| method | {' | '.join(levels)} |", "|---" * (len(levels) + 1) + "|"]
    for name in dict.fromkeys(name for name, _ in runs):
        cells = [_cell(runs[name, level], figure, digits) for level in levels]
        lines.append(f"| {METHODS[name].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _costs(runs: Found) -> str:
    levels = [level for level in _levels(runs) if level in ("50%", "2:4")] or _levels(runs)
    head = [f"{level}, {unit}" for level in levels for unit in ("s", "MB")]
    lines = [f"| method | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name in dict.fromkeys(name for name, _ in runs):
        cells = [
            _cell(runs[name, level], figure, digits)
            for level in levels
            for figure, digits in (("processor_seconds", 1), ("peak_mb", 0))
        ]
        lines.append(f"| {METHODS[name].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: list[Record], figure: str, digits: int) -> str:
    if any(record["failed"] for record in found):
        return "refused"
    return spread([record[figure] for record in found], digits)


def main(words: Sequence[str] | None = None) -> None:
    """Run what is missing and print the tables."""
    parser = command(__doc__, RESULTS, smoke="few examples, one seed")
    parser.add_argument("--networks", nargs="+", default=list(SHOWN), choices=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--levels", nargs="+", default=list(LEVELS), help="such as 50%% or 2:4")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--examples", type=int, help="to calibrate with; unless given, as the task says")
    parser.add_argument("--evaluated", type=int, help="examples to compare on; as the task says")
    few = {"seeds": 1, "levels": ["50%", "2:4"], "examples": SMOKE, "evaluated": SMOKE}
    with kept_unless_smoke(parser.parse_args(words), **few) as args:
        _answer(args)


def _answer(args: argparse.Namespace) -> None:
    sizes = {"examples": args.examples, "evaluated": args.evaluated}
    for network in args.networks:
        runs = wanted(network, args.methods, args.levels, args.seeds, **sizes)
        shown = ("network", "method", "sparsity", "pattern", "seed")
        done = run_missing(args, runs, perform, shown, figure=TASKS[network].figure)
        print(table(done, network, args.methods, args.levels, **sizes) + "\n")


if __name__ == "__main__":
    main()
