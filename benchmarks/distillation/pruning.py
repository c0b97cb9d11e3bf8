"""Pruning with the dense network as teacher against without; goes on where it was stopped.

    python -m benchmarks.distillation.pruning              # choose, run what is missing, print the table
    python -m benchmarks.distillation.pruning --table      # print what is there

Both sides prune the same trained network in the same way, for as many epochs, from the same seeds. Each is
tuned over three candidates on the validation split: rates without a teacher, shares of the teacher at the
usual rate with one; at 98%, with fewer epochs and the first seed, once for all tasks. The epoch is chosen on
the validation split; the test set is read once. Records: results/distillation_pruning.jsonl.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from benchmarks._command import command, run_missing
from benchmarks._queue import Record, is_of, spread
from torch import nn

import featherweight as fw
from featherweight.distillation.settings import DistillationSettings
from featherweight.sparsity.progressive import FINE_TUNING
from featherweight.training.precision import choose_precision
from featherweight.zoo import default_loaders

RESULTS = Path(__file__).parents[1] / "results" / "distillation_pruning.jsonl"
EXAMPLE = torch.zeros(1, 1, 28, 28)
TASKS = ("98% sparse", "95% sparse", "4x fewer MACs")
RATE = FINE_TUNING.learning_rate
WITHOUT = tuple((0.0, rate) for rate in (RATE / 2, RATE, 2 * RATE))
TAUGHT = tuple((alpha, RATE) for alpha in (0.3, 0.6, 0.9))
EPOCHS, TUNING_EPOCHS = 5, 2
Candidate = tuple[float, float]  # share of the teacher, rate


@dataclass(frozen=True)
class Run:
    """What is run; a record of the results file has the same fields.

    Attributes:
        network: a trained network of the zoo.
        task: one of TASKS.
        alpha: share of the dense network's soft targets in the loss; 0: there is no teacher.
        rate: the highest learning rate.
        seed: of data order and augmentation.
        epochs: of training while or after pruning.
        tuning: whether it is for choosing: the test set is not read.
    """

    network: str
    task: str
    alpha: float
    rate: float
    seed: int
    epochs: int
    tuning: bool = False


def perform(run: Run) -> dict[str, Any]:
    """Do one run on one thread and return its record."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    model = fw.load_model(run.network)
    loaders = default_loaders(model)
    small = pruned(run, model)
    return asdict(run) | {
        "validation": fw.evaluate(small, loaders.validate),
        "test": None if run.tuning else fw.evaluate(small, loaders.test),
        "test_examples": 0 if run.tuning else sum(len(labels) for _, labels in loaders.test),
        "params": fw.count_params(small),
        "precision": choose_precision("auto", "no", torch.device("cpu")),
        "seconds": time.perf_counter() - started,
        "torch": torch.__version__,
    }


def pruned(run: Run, model: nn.Module) -> nn.Module:
    """Return the pruned network of a run."""
    learning: dict[str, Any] = {
        "settings": replace(FINE_TUNING, epochs=run.epochs, seed=run.seed, learning_rate=run.rate),
        "teacher": True if run.alpha else None,
        "distillation": DistillationSettings("kd", alpha=run.alpha) if run.alpha else None,
        "progress": False,
    }
    if run.task == "4x fewer MACs":
        small, _ = fw.progressive_prune_structured(model, EXAMPLE, macs=0.25, steps=1, **learning)
        return small
    return fw.progressive_prune(model, float(run.task.split("%")[0]) / 100, **learning)


def tuning_runs(network: str) -> list[Run]:
    """Return the runs that choose."""
    return [
        Run(network, TASKS[0], alpha, rate, 0, TUNING_EPOCHS, tuning=True) for alpha, rate in WITHOUT + TAUGHT
    ]


def chosen(network: str, candidates: tuple[Candidate, ...], done: list[Record]) -> Candidate | None:
    """Return the candidate that validates best; None where not all were tried."""
    found: list[tuple[float, Candidate]] = []
    for run in tuning_runs(network):
        candidate = (run.alpha, run.rate)
        if candidate in candidates:
            scores = [record["validation"] for record in done if is_of(record, run)]
            if not scores:
                return None
            found.append((scores[0], candidate))
    return max(found)[1]


def final_runs(network: str, epochs: int, seeds: int, done: list[Record]) -> Iterator[Run]:
    """Yield the runs of the table, in pairs."""
    for seed in range(seeds):
        for task in TASKS:
            for side in (WITHOUT, TAUGHT):
                if candidate := chosen(network, side, done):
                    yield Run(network, task, *candidate, seed, epochs)


def table(done: list[Record], network: str, epochs: int) -> str:
    """Return test accuracy in per cent as a Markdown table, with the difference paired by seed."""
    found = [chosen(network, candidates, done) for candidates in (WITHOUT, TAUGHT)]
    sides = [candidate for candidate in found if candidate is not None]
    if len(sides) < len(found):
        return "The candidates have not been run."
    without, taught = (f"rate {rate:g}" + f", alpha {alpha:g}" * bool(alpha) for alpha, rate in sides)
    head = f"| task | without teacher ({without}) | dense teacher ({taught}) | difference |"
    lines = [head, "|---" * 4 + "|"]
    for task in TASKS:
        scores: list[dict[int, float]] = []
        for candidate in sides:
            run = Run(network, task, *candidate, 0, epochs)
            scores.append(
                {r["seed"]: 100 * r["test"] for r in done if is_of(r, replace(run, seed=r["seed"]))}
            )
        gains = [scores[1][seed] - scores[0][seed] for seed in scores[1] if seed in scores[0]]
        cells = (spread(list(scores[0].values())), spread(list(scores[1].values())), spread(gains))
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = command(__doc__, RESULTS)
    parser.add_argument("--network", default="fashion_cnn")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    shown = ("task", "alpha", "rate", "seed")
    done = run_missing(args, tuning_runs(args.network), perform, shown)
    if not args.table:
        done = run_missing(args, final_runs(args.network, args.epochs, args.seeds, done), perform, shown)
    print(f"{args.network}, test accuracy in % on 10,000 images, mean ± standard deviation (seeds);")
    print(f"{args.epochs} epochs of fine-tuning\n")
    print(table(done, args.network, args.epochs))


if __name__ == "__main__":
    main()
