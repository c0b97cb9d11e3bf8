"""The committed records as Markdown tables, for the documentation: ``python -m benchmarks.tables NAME``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._queue import records
from benchmarks.methods.accuracy import RESULTS as ACCURACY
from benchmarks.methods.accuracy import table

RESULTS = Path(__file__).parent / "results"
EPOCHS = {"fashion_cnn": 5, "fashion_resnet20": 2}  # of fine-tuning, in the accuracy tables


def accuracy(network: str) -> str:
    """Return test accuracy in per cent by method and sparsity."""
    return table(records(ACCURACY), network, EPOCHS[network])


def compact_file() -> str:
    """Return bytes on disk and speeds of the compact file."""
    stored = _stored("compact_file")
    head = "| network | values | bytes, dense fp32 | bytes, compact | ratio | write, MB/s | read, MB/s |"
    rows = [
        f"| {row['network']} | {row['values']} | {row['dense_bytes']:,} | {row['file_bytes']:,} | "
        f"{row['ratio']:.2f}x | {row['write_MB_s'][0]:.0f} | {row['read_MB_s'][0]:.0f} |"
        for row in stored["rows"]
    ]
    return "\n".join([head, "|---" * 7 + "|", *rows, "", _machine(stored)])


def prune_cost() -> str:
    """Return what pruning and holding masks cost."""
    stored = _stored("prune_cost")
    head = "| what | side | median, ms | quartiles, ms | runs |"
    rows = [
        f"| {title} | {side['name']} | {1e3 * side['median']:.1f} | "
        f"{1e3 * side['low']:.1f} to {1e3 * side['high']:.1f} | {side['repeats']} |"
        for title, sides in stored["rows"].items()
        for side in sides
    ]
    return "\n".join([head, "|---" * 5 + "|", *rows, "", _machine(stored)])


def _stored(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _machine(stored: dict[str, Any]) -> str:
    machine = stored["machine"]
    return (
        f"{machine['cpu']}, {machine['threads']} thread{'s' * (machine['threads'] != 1)}, fp32, "
        f"torch {machine['torch']}, commit {machine['commit']}."
    )


TABLES: dict[str, Callable[[], str]] = {
    "accuracy of fashion_cnn": lambda: accuracy("fashion_cnn"),
    "accuracy of fashion_resnet20": lambda: accuracy("fashion_resnet20"),
    "compact file": compact_file,
    "prune cost": prune_cost,
}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("name", choices=list(TABLES))
    print(TABLES[parser.parse_args().name]())


if __name__ == "__main__":
    main()
