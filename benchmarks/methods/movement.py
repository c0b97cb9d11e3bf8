"""Do movement scores tell the same with other batches? Rank correlation over pairs of data orders; a minute.

    python -m benchmarks.methods.movement --json benchmarks/results/movement.json

Two networks of the same weights are trained for STEPS steps on training images in two orders, with nothing
pruned, and their scores are compared: Spearman's correlation of all prunable weights, and the share of the
highest tenth that both have. Once from the trained weights, whose task stays the same, once from new ones.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import torch
from benchmarks._machine import machine
from benchmarks._queue import spread
from benchmarks.methods.strategies import BATCH, Run, material
from benchmarks.oneshot.tasks import spearman
from torch import Tensor, nn

from featherweight.core.prunable import find_prunable
from featherweight.sparsity.criteria import Context, Movement

NETWORK, STEPS, PAIRS, RATE = "fashion_cnn", 80, 3, 0.03
TOP = 0.1


def scores(trained: bool, weights: int, order: int) -> Tensor:
    """Return the movement scores of all prunable weights after STEPS steps.

    Args:
        trained: whether it starts from trained weights.
        weights: seed of new ones.
        order: seed of the order of the images, and of their augmentation.
    """
    model, loaders = material(Run(NETWORK, trained, "movement", "global", "cubic", 0.9, weights, 1, STEPS))
    torch.manual_seed(order)
    found = {weight.name: weight.tensor for weight in find_prunable(model).weights}
    learner = Movement()
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=5e-4)
    model.train()
    for images, labels in itertools.islice(loaders.train, STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        learner.observe(found, RATE)
        optimizer.step()
    return torch.cat([score.flatten() for score in learner(found, Context(model)).values()])


def compared(first: Tensor, second: Tensor) -> dict[str, float]:
    """Return the rank correlation of two vectors, and the share of the highest that both have."""
    count = round(TOP * len(first))
    highest = [set(each.topk(count).indices.tolist()) for each in (first, second)]
    return {"spearman": spearman(first, second), "shared": len(highest[0] & highest[1]) / count}


def table(stored: dict[str, Any]) -> str:
    """Return correlations and shares as a Markdown table."""
    lines = [f"| from | Spearman's correlation | shared of the highest {TOP:.0%} |", "|---" * 3 + "|"]
    for start, pairs in stored["rows"].items():
        cells = [spread([pair[name] for pair in pairs]) for name in ("spearman", "shared")]
        lines.append(f"| {start} weights | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write machine and rows here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = {
        start: [
            compared(*(scores(start == "trained", pair, 2 * pair + order) for order in range(2)))
            for pair in range(PAIRS)
        ]
        for start in ("trained", "new")
    }
    about = machine() | {"network": NETWORK, "steps": STEPS, "batch": BATCH}
    stored = {"machine": about, "rows": rows}
    print(table(stored))
    if args.json:
        args.json.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
