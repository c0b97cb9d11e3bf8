"""What each criterion costs on ResNet-50: seconds and most memory to prune it to 90%, a fresh process each.

    python -m benchmarks.methods.criteria_cost --json benchmarks/results/criteria_cost.json
    python -m benchmarks.methods.criteria_cost --network resnet20 --batch 4 --size 32     # seconds

Weights are new: shapes are what counts. Data are BATCHES batches of random images. A criterion that learns
while the network trains is shown one optimizer step and then scores; the step itself is not counted. One
thread, fp32. Memory is what is resident at most beyond the network, its data and, for those that learn, its
gradients.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from benchmarks._machine import machine
from benchmarks._memory import measured
from torch import Tensor, nn
from torch.nn import functional as F

import featherweight as fw
from featherweight.core.prunable import find_prunable
from featherweight.sparsity.criteria import criteria
from featherweight.sparsity.observing import learner_of
from featherweight.zoo import build

SPARSITY, BATCHES = 0.9, 2
RATE = 0.1
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        criterion: a name.
        network: of the zoo.
        batch: images in a batch.
        size: pixels a side.
    """

    criterion: str
    network: str
    batch: int
    size: int


def measure(case: Case) -> dict[str, float]:
    """Prune the network of a case once, in this process, and return seconds and megabytes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    classes = 1000
    model = build(case.network, in_channels=3, classes=classes).eval()
    shape = (case.batch, 3, case.size, case.size)
    data = [(torch.randn(shape), torch.randint(0, classes, shape[:1])) for _ in range(BATCHES)]
    work = pruning_of(case.criterion, model, data)
    return measured(work)[1]


def pruning_of(criterion: str, model: nn.Module, data: list[Batch]) -> Callable[[], Any]:
    """Return the work that is measured: scoring and pruning, and what is done in a step before."""
    learner = learner_of(criterion)
    if learner is None:
        return lambda: fw.prune(model, SPARSITY, criterion=criterion, data=data)
    images, labels = data[0]
    F.cross_entropy(model(images), labels).backward()
    weights = {weight.name: weight.tensor for weight in find_prunable(model).weights}

    def work() -> Any:
        learner.observe(weights, RATE)
        return fw.prune(model, SPARSITY, criterion=learner)

    return work


def table(stored: dict[str, Any]) -> str:
    """Return medians and ranges by criterion as a Markdown table, the cheapest first."""
    rows = ["| criterion | processor seconds | range | most memory, MB | runs |", "|---" * 5 + "|"]
    by_time = sorted(stored["rows"].items(), key=lambda item: _median(item[1], "processor_seconds"))
    for name, found in by_time:
        seconds = [each["processor_seconds"] for each in found]
        rows.append(
            f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} | "
            f"{_median(found, 'peak_mb'):,.0f} | {len(found)} |"
        )
    return "\n".join(rows)


def _median(found: list[dict[str, float]], name: str) -> float:
    return statistics.median(each[name] for each in found)


def in_fresh_processes(case: Case, repeats: int) -> list[dict[str, float]]:
    """Return what each of ``repeats`` processes measured, one after the other."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        return [pool.submit(measure, case).result() for _ in range(repeats)]


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--criteria", nargs="+", default=list(criteria), choices=list(criteria))
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write machine and rows here")
    args = parser.parse_args()
    about = machine() | {"threads": 1, "network": args.network, "batch": args.batch, "size": args.size}
    print("  ".join(f"{key}={value}" for key, value in about.items()), flush=True)
    rows: dict[str, list[dict[str, float]]] = {}
    for name in args.criteria:
        rows[name] = in_fresh_processes(Case(name, args.network, args.batch, args.size), args.repeats)
        print(f"{name:<12} {_median(rows[name], 'processor_seconds'):.2f} s", flush=True)
    stored = {"machine": about, "rows": rows}
    print("\n" + table(stored))
    if args.json:
        args.json.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
