"""The committed records as Markdown tables, for the documentation: ``python -m benchmarks.tables NAME``.

With ``--picture`` the SVG of that name.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._queue import is_of, records, spread
from benchmarks.distillation import accuracy as distillation
from benchmarks.distillation import language, overhead
from benchmarks.distillation import pruning as taught_pruning
from benchmarks.lottery import lenet
from benchmarks.methods import criteria_cost, movement, peers, questions
from benchmarks.methods.accuracy import RESULTS as ACCURACY
from benchmarks.methods.accuracy import table
from benchmarks.methods.runs import MAIN, METHODS, Run
from benchmarks.oneshot import compare as oneshot
from benchmarks.runtime import tables as runtime
from benchmarks.structured import accuracy as structured
from benchmarks.structured import coverage

RESULTS = Path(__file__).parent / "results"
EPOCHS = {"fashion_cnn": 5, "fashion_resnet20": 2}  # of fine-tuning, in the accuracy tables


def accuracy(network: str) -> str:
    """Return test accuracy in per cent by method and sparsity."""
    return table(records(ACCURACY), network, EPOCHS[network])


def longer(network: str, epochs: int) -> str:
    """Return test accuracy in per cent of progressive pruning to 90% with more epochs of fine-tuning."""
    title = METHODS["progressive"].title
    runs = [Run(network, "progressive", MAIN, seed, epochs) for seed in range(3)]
    found = [100 * r["test"] for r in records(ACCURACY) if any(is_of(r, run) for run in runs)]
    return f"| method | {MAIN:.0%} |\n|---|---|\n| {title}, {epochs} epochs | {spread(found)} |"


def strategies(question: str, network: str) -> str:
    """Return test accuracy in per cent of the strategies of a question."""
    return questions.table(records(questions.RESULTS), questions.Asked.of(question, network))


def longer_dynamic(network: str, epochs: int) -> str:
    """Return the same of dynamic sparse training for ``epochs`` of 320 batches, at two levels."""
    asked = questions.Asked.of("dynamic", network, epochs, batches=320)
    return questions.table(records(questions.RESULTS), asked, questions.FIRST)


def beside_peers(network: str) -> str:
    """Return test accuracy, seconds and lines of code beside other libraries."""
    return peers.table(records(peers.RESULTS), network, peers.EFFORTS[network][0])


def movement_scores() -> str:
    """Return whether movement scores are the same with other batches."""
    stored = _stored("movement")
    return movement.table(stored) + f"\n\n{_machine(stored)}"


def criteria_costs() -> str:
    """Return what each criterion costs on ResNet-50."""
    done = [record for record in records(criteria_cost.RESULTS) if is_of(record, criteria_cost.WHOLE)]
    return f"{criteria_cost.table(done)}\n\n{_machine(done[-1])}" if done else "Not run."


def structured_accuracy(network: str) -> str:
    """Return accuracy after cutting channels, beside the baselines."""
    return structured.table(records(structured.RESULTS), structured.QUESTIONS[network])


def structured_speed() -> str:
    """Return milliseconds before and after cutting channels."""
    stored = _stored("structured_speed")
    left = {row["network"]: row for row in stored["cut"]}
    head = (
        "| network | parameters left | MACs left | engine | batch | before, ms | after, ms | times faster |"
    )
    rows = [
        f"| {row['network']} | {_share(left[row['network']]['params'])} | "
        f"{_share(left[row['network']]['macs'])} | {row['engine']} | {row['batch']} | "
        f"{_milliseconds(row['before'])} | {_milliseconds(row['after'])} | {row['ratio']:.2f} |"
        for row in stored["rows"]
    ]
    return "\n".join([head, "|---" * 8 + "|", *rows, "", _machine(stored)])


def structured_cost() -> str:
    """Return seconds to trace, group and cut, beside Torch-Pruning."""
    stored = _stored("structured_cost")
    sides = {name: found["sides"] for name, found in stored["rows"].items()}
    return _timings("network", sides, "s", 2) + f"\n\n{_machine(stored)}"


def _share(pair: list[int]) -> str:
    return f"{pair[1] / pair[0]:.3f}"


def _milliseconds(timing: dict[str, Any]) -> str:
    low, median, high = (f"{1e3 * timing[name]:.3g}" for name in ("low", "median", "high"))
    return f"{median} ({low} to {high})"


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
    return _timings("what", stored["rows"], "ms", 1) + f"\n\n{_machine(stored)}"


def distillation_overhead() -> str:
    """Return what a Distiller costs beside the passes that are needed."""
    stored = _stored("distillation_overhead")
    return overhead.table(stored) + f"\n\n{_machine(stored)}"


def _timings(what: str, sides: dict[str, list[dict[str, Any]]], unit: str, digits: int) -> str:
    """Return median and quartiles of each side of each comparison."""
    scale = {"s": 1, "ms": 1e3}[unit]
    rows = [f"| {what} | side | median, {unit} | quartiles, {unit} | runs |", "|---" * 5 + "|"]
    for name, timings in sides.items():
        for side in timings:
            low, median, high = (f"{scale * side[key]:.{digits}f}" for key in ("low", "median", "high"))
            rows.append(f"| {name} | {side['name']} | {median} | {low} to {high} | {side['repeats']} |")
    return "\n".join(rows)


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
    "longer fine-tuning of fashion_resnet20": lambda: longer("fashion_resnet20", 8),
    **{
        f"{question} of {network}": lambda q=question, n=network: strategies(q, n)
        for question in questions.QUESTIONS
        for network in EPOCHS
    },
    **{
        f"dynamic of fashion_resnet20, {n} epochs": lambda n=n: longer_dynamic("fashion_resnet20", n)
        for n in (8, 32)
    },
    **{f"peers of {network}": lambda n=network: beside_peers(n) for network in EPOCHS},
    "movement scores": movement_scores,
    "lottery": lambda: lenet.table(lenet.results(lenet.RESULTS)),
    "criteria cost": criteria_costs,
    **{
        f"one-shot of {network}": lambda n=network: oneshot.table(records(oneshot.RESULTS), n)
        for network in oneshot.SHOWN
    },
    "structured accuracy of fashion_cnn": lambda: structured_accuracy("fashion_cnn"),
    "structured speed": structured_speed,
    "structured cost": structured_cost,
    "distillation": lambda: distillation.table(records(distillation.RESULTS)),
    "distillation of language": lambda: language.table(records(language.RESULTS), language.PLAN),
    "distillation while pruning": lambda: taught_pruning.table(
        records(taught_pruning.RESULTS), "fashion_cnn", taught_pruning.EPOCHS
    ),
    "distillation overhead": distillation_overhead,
    "runtime speed": runtime.speed,
    "runtime scaling": runtime.scaling,
    "runtime layers": runtime.layers,
    "runtime cost": runtime.cost,
    "coverage": lambda: coverage.table(coverage.records()),
    "compact file": compact_file,
    "prune cost": prune_cost,
}

# SVG, drawn from the records.
PICTURES: dict[str, Callable[[], str]] = {
    "runtime speedup": runtime.speedup_picture,
    "runtime layers": runtime.layers_picture,
}


def main() -> None:
    """Print one table or picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("name", choices=list(dict.fromkeys([*TABLES, *PICTURES])))
    parser.add_argument("--picture", action="store_true", help="the picture of that name, as SVG")
    args = parser.parse_args()
    print((PICTURES if args.picture else TABLES)[args.name]())


if __name__ == "__main__":
    main()
