"""What each criterion costs on ResNet-50: seconds and most memory to prune it to 90%, a fresh process each.

    python -m benchmarks.methods.criteria_cost             # what is missing
    python -m benchmarks.methods.criteria_cost --smoke     # ResNet-20, in seconds

Weights are new: shapes are what counts. Data are BATCHES batches of random images. A criterion that learns
while the network trains is shown one optimizer step and then scores; the step itself is not counted. One
thread, fp32. Memory is what is resident at most beyond the network, its data and, for those that learn, its
gradients. Run it where nothing else runs, one process at a time.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks._command import command, kept_unless_smoke, run_missing
from benchmarks._machine import machine
from benchmarks._memory import measured
from benchmarks._queue import Record, is_of
from torch import Tensor, nn
from torch.nn import functional as F

import featherweight as fw
from featherweight.core.prunable import find_prunable
from featherweight.sparsity.criteria import criteria
from featherweight.sparsity.observing import learner_of
from featherweight.zoo import build

RESULTS = Path(__file__).parents[1] / "results" / "criteria_cost.jsonl"
SPARSITY, BATCHES = 0.9, 2
RATE = 0.1
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Shapes:
    """What is pruned, and with what.

    Attributes:
        network: of the zoo.
        batch: images in a batch.
        size: pixels a side.
    """

    network: str
    batch: int
    size: int


WHOLE = Shapes("resnet50", 8, 224)
SMOKE = Shapes("resnet20", 4, 32)


@dataclass(frozen=True)
class Run(Shapes):
    """One measurement.

    Attributes:
        criterion: a name.
        repeat: counts the same ones.
    """

    criterion: str
    repeat: int


def perform(run: Run) -> Record:
    """Prune the network of a run once, in this process, and return seconds and megabytes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    classes = 1000
    model = build(run.network, in_channels=3, classes=classes).eval()
    shape = (run.batch, 3, run.size, run.size)
    data = [(torch.randn(shape), torch.randint(0, classes, shape[:1])) for _ in range(BATCHES)]
    found = measured(pruning_of(run.criterion, model, data))[1]
    return asdict(run) | found | {"seconds": found["seconds_pruning"], "machine": machine()}


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


def table(done: Iterable[Record], shapes: Shapes = WHOLE) -> str:
    """Return medians and ranges by criterion as a Markdown table, the cheapest first."""
    found: dict[str, list[Record]] = {}
    for record in done:
        if is_of(record, shapes):
            found.setdefault(record["criterion"], []).append(record)
    rows = ["| criterion | processor seconds | range | most memory, MB | runs |", "|---" * 5 + "|"]
    for name, several in sorted(found.items(), key=lambda item: _median(item[1], "processor_seconds")):
        seconds = [each["processor_seconds"] for each in several]
        rows.append(
            f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} | "
            f"{_median(several, 'peak_mb'):,.0f} | {len(several)} |"
        )
    return "\n".join(rows)


def _median(found: Sequence[Record], name: str) -> float:
    return statistics.median(each[name] for each in found)


def main() -> None:
    """Measure what is missing and print the table."""
    parser = command(__doc__, RESULTS, smoke=f"{SMOKE.network} with all criteria, once each")
    parser.set_defaults(workers=1)
    parser.add_argument("--criteria", nargs="+", default=list(criteria), choices=list(criteria))
    parser.add_argument("--repeats", type=int, default=3)
    with kept_unless_smoke(parser.parse_args(), repeats=1) as args:
        shapes = SMOKE if args.smoke else WHOLE
        runs = [
            Run(**vars(shapes), criterion=name, repeat=n)
            for n in range(args.repeats)
            for name in args.criteria
        ]
        done = run_missing(args, runs, perform, ("criterion", "repeat"), figure="processor_seconds")
        print(table(done, shapes))


if __name__ == "__main__":
    main()
