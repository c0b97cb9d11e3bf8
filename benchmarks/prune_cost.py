"""What pruning costs: ``fw.prune`` against torch.nn.utils.prune, and a training step with masks and without.

The sides alternate (A B A B ...) in one process. Times are the median with quartiles over the repeats. The
networks are ResNet-50 for pruning, and for the step ResNet-20 and ResNet-50 shaped layers with SGD momentum.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from benchmarks._machine import machine
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

import featherweight as fw
from featherweight.sparsity.schedules import OneShot
from featherweight.zoo import build


@dataclass(frozen=True)
class Timing:
    """Seconds of one side.

    Attributes:
        name: what was timed.
        median: of the repeats.
        low: first quartile.
        high: third quartile.
        repeats: how many were timed.
    """

    name: str
    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, name: str, seconds: list[float]) -> Timing:
        """Return median and quartiles of ``seconds``."""
        low, median, high = statistics.quantiles(seconds, n=4)
        return cls(name, median, low, high, len(seconds))


def alternate(sides: dict[str, Callable[[], float]], repeats: int) -> dict[str, Timing]:
    """Call the sides in turn, once uncounted and then ``repeats`` times; each returns its seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(repeats + 1):
        for name, side in sides.items():
            taken = side()
            if number:
                seconds[name].append(taken)
    return {name: Timing.of(name, times) for name, times in seconds.items()}


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def pruning(sparsity: float, repeats: int) -> dict[str, Timing]:
    """Time global magnitude pruning of ResNet-50, ours and torch's, each on a fresh copy."""
    torch.manual_seed(0)
    model = build("resnet50", in_channels=3, classes=1000)

    def ours() -> float:
        fresh = copy.deepcopy(model)
        return timed(lambda: fw.prune(fresh, sparsity))

    def theirs() -> float:
        fresh = copy.deepcopy(model)
        layers = [(m, "weight") for m in fresh.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        return timed(
            lambda: torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=sparsity)
        )

    return alternate({"featherweight": ours, "torch.nn.utils.prune": theirs}, repeats)


def steps(name: str, shape: tuple[int, ...], repeats: int) -> dict[str, Timing]:
    """Time a training step (forward, backward, SGD momentum) without and with masks at 90%."""
    torch.manual_seed(0)
    x, y = torch.randn(shape), torch.randint(0, 10, shape[:1])

    def side(masked: bool) -> Callable[[], float]:
        model = build(name, in_channels=shape[1]).train()
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        if masked:
            fw.Pruner(model, 0.9, schedule=OneShot()).attach(optimizer)

        def step() -> None:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

        return lambda: timed(step)

    return alternate({"without masks": side(False), "with masks": side(True)}, repeats)


def show(title: str, timings: dict[str, Timing]) -> None:
    """Print one comparison; the ratio is second over first side."""
    print(title)
    for timing in timings.values():
        low, high = 1e3 * timing.low, 1e3 * timing.high
        print(
            f"  {timing.name:<22} {1e3 * timing.median:9.1f} ms  [{low:.1f}-{high:.1f}]  n={timing.repeats}"
        )
    first, second = timings.values()
    print(f"  {second.name} / {first.name} = {second.median / first.median:.3f}", flush=True)


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--step-repeats", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write machine and timings here")
    args = parser.parse_args()
    about = machine() | {"threads": torch.get_num_threads(), "precision": "fp32"}
    print("  ".join(f"{key}={value}" for key, value in about.items()))
    results = {
        "prune ResNet-50 globally to 90%": pruning(0.9, args.repeats),
        "training step, ResNet-20, batch 128 of 28x28": steps(
            "resnet20", (128, 1, 28, 28), args.step_repeats
        ),
        "training step, ResNet-50, batch 16 of 64x64": steps("resnet50", (16, 3, 64, 64), args.step_repeats),
    }
    for title, timings in results.items():
        show(title, timings)
    if args.json:
        rows = {title: [asdict(t) for t in timings.values()] for title, timings in results.items()}
        args.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
