"""Pruning with the dense network as teacher against without; goes on where it was stopped.

    python -m benchmarks.distillation.pruning              # run what is missing, print the table
    python -m benchmarks.distillation.pruning --table      # print what is there

Both sides prune the same trained network in the same way, for as many epochs, from the same seeds. The epoch
is chosen on the validation split; the test set is read once. Records: results/distillation_pruning.jsonl.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from benchmarks._queue import Record, is_of, missing, perform_all, records, spread
from torch import nn

import featherweight as fw
from featherweight.sparsity.progressive import FINE_TUNING
from featherweight.training.precision import choose_precision
from featherweight.zoo import default_loaders

RESULTS = Path(__file__).parents[1] / "results" / "distillation_pruning.jsonl"
EXAMPLE = torch.zeros(1, 1, 28, 28)
TASKS = ("98% sparse", "95% sparse", "4x fewer MACs")


@dataclass(frozen=True)
class Run:
    """What is run; a record of the results file has the same fields.

    Attributes:
        network: a trained network of the zoo.
        task: one of TASKS.
        teacher: whether the dense network teaches.
        seed: of data order and augmentation.
        epochs: of training while or after pruning.
    """

    network: str
    task: str
    teacher: bool
    seed: int
    epochs: int


def perform(run: Run) -> dict[str, Any]:
    """Do one run on one thread and return its record."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    model = fw.load_model(run.network)
    loaders = default_loaders(model)
    small = pruned(run, model)
    return asdict(run) | {
        "validation": fw.evaluate(small, loaders.validate),
        "test": fw.evaluate(small, loaders.test),
        "test_examples": sum(len(labels) for _, labels in loaders.test),
        "params": fw.count_params(small),
        "precision": choose_precision("auto", "no", torch.device("cpu")),
        "seconds": time.perf_counter() - started,
        "torch": torch.__version__,
    }


def pruned(run: Run, model: nn.Module) -> nn.Module:
    """Return the pruned network of a run."""
    settings = replace(FINE_TUNING, epochs=run.epochs, seed=run.seed)
    teacher = True if run.teacher else None
    if run.task == "4x fewer MACs":
        small, _ = fw.progressive_prune_structured(
            model, EXAMPLE, macs=0.25, steps=1, settings=settings, teacher=teacher, progress=False
        )
        return small
    sparsity = float(run.task.split("%")[0]) / 100
    return fw.progressive_prune(model, sparsity, settings=settings, teacher=teacher, progress=False)


def wanted(network: str, epochs: int, seeds: int) -> Iterator[Run]:
    """Yield all runs, in pairs."""
    for seed in range(seeds):
        for task in TASKS:
            for teacher in (False, True):
                yield Run(network, task, teacher, seed, epochs)


def table(done: list[Record], network: str, epochs: int) -> str:
    """Return test accuracy in per cent as a Markdown table, with the paired difference."""
    lines = ["| task | without teacher | dense teacher | difference |", "|---|---|---|---|"]
    for task in TASKS:
        sides: list[dict[int, float]] = []
        for teacher in (False, True):
            run = Run(network, task, teacher, 0, epochs)
            sides.append({r["seed"]: 100 * r["test"] for r in done if is_of(r, replace(run, seed=r["seed"]))})
        without, taught = sides
        gains = [taught[seed] - without[seed] for seed in taught if seed in without]
        cells = (spread(list(without.values())), spread(list(taught.values())), spread(gains))
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="fashion_cnn")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    args = parser.parse_args()
    if not args.table:
        todo = missing(wanted(args.network, args.epochs, args.seeds), records(args.results))
        print(f"{len(todo)} runs to do", file=sys.stderr)
        perform_all(todo, perform, args.results, args.workers, ("task", "teacher", "seed"))
    print(f"{args.network}, test accuracy in % on 10,000 images, mean ± standard deviation (seeds);")
    print(f"{args.epochs} epochs of fine-tuning\n")
    print(table(records(args.results), args.network, args.epochs))


if __name__ == "__main__":
    main()
