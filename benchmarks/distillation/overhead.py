"""What a Distiller costs beyond the passes that are needed, and what its cache saves.

    python -m benchmarks.distillation.overhead             # measure, print and write the record

A step by hand is one forward pass of the teacher, one forward and one backward pass of the student with the
loss written out, and the optimizer's step; all in fp32, the teacher with its channels innermost, as the
Distiller has it. The sides take turns (A B A B ...). Run it alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from benchmarks._machine import machine
from benchmarks.distillation.runs import WIDTHS
from torch import Tensor, nn
from torch.nn import functional as F

import featherweight as fw
from featherweight.engines import in_turns
from featherweight.zoo import build
from featherweight.zoo.networks.small_cnn import SmallCNN

RESULTS = Path(__file__).parents[1] / "results" / "distillation_overhead.json"
TEMPERATURE, ALPHA, BATCH = 4.0, 0.9, 128
LAST = torch.channels_last
Batch = tuple[Tensor, Tensor]
PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "ResNet-20 to small CNN, 25k": (
        lambda: build("resnet20", in_channels=1),
        lambda: SmallCNN(1, 10, WIDTHS),
    ),
    "ResNet-56 to small CNN": (lambda: build("resnet56", in_channels=1), lambda: SmallCNN(1, 10)),
    "ViT to small CNN": (lambda: build("vit_tiny", in_channels=1), lambda: SmallCNN(1, 10)),
}


def stepper(student: nn.Module, loss: Callable[[Batch], Tensor], batch: Batch) -> Callable[[], None]:
    """Return a training step of ``student``."""
    optimizer = torch.optim.SGD(student.parameters(), 0.01, momentum=0.9)

    def step() -> None:
        loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def by_hand(teacher: nn.Module, student: nn.Module) -> Callable[[Batch], Tensor]:
    """Return the loss written out, as short as it can be."""
    teacher = copy.deepcopy(teacher).to(memory_format=LAST)  # pyright: ignore[reportCallIssue]

    def loss(batch: Batch) -> Tensor:
        inputs, targets = batch
        with torch.no_grad():
            goal = F.log_softmax(teacher(inputs.contiguous(memory_format=LAST)) / TEMPERATURE, 1)
        logits = student(inputs)
        soft = F.kl_div(F.log_softmax(logits / TEMPERATURE, 1), goal, log_target=True, reduction="batchmean")
        return (1 - ALPHA) * F.cross_entropy(logits, targets) + ALPHA * TEMPERATURE**2 * soft

    return loss


def measure(pair: str, seconds: float) -> dict[str, Any]:
    """Return milliseconds a step of each side."""
    make_teacher, make_student = PAIRS[pair]
    teacher = make_teacher().eval()
    batch = (torch.randn(BATCH, 1, 28, 28), torch.randint(0, 10, (BATCH,)))
    with tempfile.TemporaryDirectory() as folder:
        students = {name: make_student() for name in ("by hand", "Distiller", "Distiller, cached", "alone")}
        options: dict[str, Any] = {
            "loss": "kd",
            "alpha": ALPHA,
            "temperature": TEMPERATURE,
            "precision": "fp32",
        }
        live = fw.distill.Distiller(teacher, students["Distiller"], batch, **options)
        cached = fw.distill.Distiller(teacher, students["Distiller, cached"], batch, **options)
        cached.fill_cache([batch], Path(folder) / "cache", progress=False)
        losses: dict[str, Callable[[Batch], Tensor]] = {
            "by hand": by_hand(teacher, students["by hand"]),
            "Distiller": live,
            "Distiller, cached": cached,
            "alone": lambda batch: F.cross_entropy(students["alone"](batch[0]), batch[1]),
        }
        turns = {name: stepper(students[name], losses[name], batch) for name in losses}
        times = in_turns(turns, seconds=seconds)
    return {name: asdict(spread) for name, spread in times.items()}


def table(stored: dict[str, Any]) -> str:
    """Return the record as a Markdown table."""
    lines = [
        "| networks | by hand, ms | Distiller, ms | overhead | cached, ms | saved | student alone, ms |",
        "|---" * 7 + "|",
    ]
    for pair, sides in stored["pairs"].items():
        hand, live, cached, alone = (
            sides[name]["median"] for name in ("by hand", "Distiller", "Distiller, cached", "alone")
        )
        lines.append(
            f"| {pair} | {hand:.1f} | {live:.1f} | {live / hand - 1:+.1%} | {cached:.1f} "
            f"| {1 - cached / hand:.0%} | {alone:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=40.0, help="of each pair of networks")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    stored = {
        "machine": machine() | {"threads": args.threads, "precision": "fp32", "batch": BATCH},
        "pairs": {pair: measure(pair, args.seconds) for pair in PAIRS},
    }
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")
    print(table(stored))


if __name__ == "__main__":
    main()
