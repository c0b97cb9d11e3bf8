"""Lottery tickets of LeNet-300-100 on Fashion-MNIST, beside their controls; goes on where it was stopped.

    python -m benchmarks.lottery.lenet --workers 2    # run what is missing, print, write records and picture
    python -m benchmarks.lottery.lenet --table        # print what is there

16 levels of 20% (10% of the last layer), the same fraction of each layer as in Frankle, Carbin 2019
(https://arxiv.org/abs/1803.03635), down to 2.9% of the weights, and its optimizer, Adam at 1.2e-3 (here with
warm-up and a cosine). Images are not augmented. Checkpoints, masks and weights are kept in runs/; the records
go to benchmarks/results/lottery.jsonl.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from benchmarks._machine import machine
from benchmarks._queue import records as lines_of
from rich.console import Console

import featherweight as fw
from featherweight.cli.lottery_tickets.flow import record_of
from featherweight.report import LotteryRecord, lottery_page, lottery_table, plots, write_html
from featherweight.report.lottery import lottery_rows, measured_line
from featherweight.sparsity.lottery import LevelRecord
from featherweight.sparsity.lottery.queue import steps_of

RESULTS = Path(__file__).parents[1] / "results" / "lottery.jsonl"
FOLDER = Path("runs") / "lottery" / "lenet"
EXPERIMENT = fw.lottery.Experiment(
    network="lenet_300_100",
    data=fw.lottery.ZooData("fashion_mnist", batch_size=128),
    levels=16,
    fraction=0.2,
    output_fraction=0.1,
    rewind=0,
    branches=("ticket", "random_init", "shuffled_mask", "random_mask", "dense"),
    seeds=(0, 1, 2),
    settings=fw.TrainingSettings(
        epochs=8, learning_rate=1.2e-3, optimizer="adamw", weight_decay=0.0, precision="fp32"
    ),
    allocation="uniform",
)


def add_results(path: Path, done: Iterable[LevelRecord], where: dict[str, Any]) -> None:
    """Append the records that are not in the results file yet, each with what it was run on."""
    there = results(path)
    with path.open("a") as file:
        for record in done:
            if record not in there:
                file.write(json.dumps(asdict(record) | {"machine": where}) + "\n")


def results(path: Path) -> list[LevelRecord]:
    """Return the records of the results file."""
    names = [field.name for field in fields(LevelRecord)]
    return [LevelRecord(**{name: line[name] for name in names}) for line in lines_of(path)]


def shown(experiment: fw.lottery.Experiment, there: Sequence[LevelRecord]) -> LotteryRecord:
    """Return what table and picture show of the records of this experiment."""
    wanted = {(experiment.key(s.branch, s.seed), s.level) for s in steps_of(experiment)}
    own = [record for record in there if (record.experiment, record.level) in wanted]
    return record_of(experiment, own, "LeNet-300-100", "Fashion-MNIST")


def table(there: Sequence[LevelRecord]) -> str:
    """Return accuracy by level and branch, and what it says, in Markdown."""
    record = shown(EXPERIMENT, there)
    head = ["weights left", *(curve.title for curve in record.curves)]
    rows = (head, ["---:"] * len(head), *lottery_rows(record))
    lines = (f"| {' | '.join(cells)} |" for cells in rows)
    return "\n".join([measured_line(record), "", *lines, "", *record.statements])


def main() -> None:
    """Run what is missing, print the table and write the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--levels", type=int, default=EXPERIMENT.levels)
    parser.add_argument("--seeds", type=int, default=len(EXPERIMENT.seeds))
    parser.add_argument("--branches", nargs="+", default=EXPERIMENT.branches)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    parser.add_argument("--picture", type=Path, help="write the figure to this file, SVG")
    parser.add_argument("--report", type=Path, help="write the page to this file, HTML")
    args = parser.parse_args()
    experiment = replace(
        EXPERIMENT, levels=args.levels, seeds=tuple(range(args.seeds)), branches=tuple(args.branches)
    )
    if not args.table:
        args.folder.mkdir(parents=True, exist_ok=True)
        add_results(args.results, fw.lottery.run(experiment, args.folder, workers=args.workers), machine())
    record = shown(experiment, results(args.results))
    Console(width=118).print(lottery_table(record))
    print(*record.statements, sep="\n")
    if args.picture:
        args.picture.write_text(plots.lottery(record.curves, record.dense, record.parts_at, record.split))
    if args.report:
        write_html(lottery_page(record), args.report)


if __name__ == "__main__":
    main()
