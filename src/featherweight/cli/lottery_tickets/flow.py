"""The steps of ``featherweight lottery``: run what is missing, and show what the records say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featherweight.cli.lottery_tickets.options import OUT
from featherweight.cli.lottery_tickets.request import experiment_of
from featherweight.cli.output import say, show, write_json
from featherweight.report import (
    LotteryCurve,
    LotteryRecord,
    lottery_page,
    lottery_table,
    write_html,
)
from featherweight.sparsity.lottery import Experiment, LevelRecord, branches, curves, parting, run
from featherweight.sparsity.lottery.summary import split_of, statements


def run_lottery(asked: Mapping[str, Any]) -> LotteryRecord:
    """Run what is missing of the experiment, and write what is asked for.

    Raises:
        FeatherweightError: it cannot be done as asked.
    """
    experiment = experiment_of(asked)
    folder: Path = asked["out"] or OUT
    records = run(experiment, folder, workers=asked["workers"])
    record = record_of(experiment, records, asked["network"], asked["data"])
    if record.curves:
        show(lottery_table(record))
    for statement in record.statements:
        say(statement)
    say(f"Records, masks and weights: {folder}")
    write_json(asked["json"], record.to_json())
    if asked["report"] is not None:
        write_html(lottery_page(record), asked["report"])
    return record


def record_of(
    experiment: Experiment, records: Sequence[LevelRecord], network: str, data: str
) -> LotteryRecord:
    """Return what a table, a page and a picture show of an experiment's records.

    Args:
        experiment: that was run.
        records: of it.
        network: its name, for people.
        data: likewise.
    """
    split = split_of(records)
    found = curves(records, split)
    parted = parting(records, split=split)
    return LotteryRecord(
        network=network,
        data=data,
        split=split,
        examples=records[0].examples if split == "test" else 0,
        dense=tuple(found["dense"][0].values.values()),
        curves=tuple(
            LotteryCurve(
                name,
                branches[name].title,
                tuple(spread.remaining for spread in found[name].values()),
                tuple(tuple(spread.values.values()) for spread in found[name].values()),
            )
            for name in experiment.branches
            if name != "dense" and name in found
        ),
        statements=statements(records, split),
        parts_at=None if parted is None or parted.level is None else parted.here[0].remaining,
        settings=_settings(experiment, records[0]),
        seeds=experiment.seeds,
        trainings=len(records),
        seconds=sum(record.seconds for record in records),
    )


def _settings(experiment: Experiment, record: LevelRecord) -> dict[str, str]:
    training = experiment.settings
    apart = experiment.output_fraction
    own = "" if apart is None else f", {apart:.0%} of the last layer"
    return {
        "pruned": f"{experiment.levels} levels of {experiment.fraction:.0%}{own}, {experiment.allocation}",
        "rewound to": _rewound_to(experiment, record.steps),
        "training": f"{training.epochs} epochs ({record.steps:,} steps), {training.optimizer}, learning rate "
        f"{training.learning_rate:g} ({training.rate}), weight decay {training.weight_decay:g}",
        "seeds": ", ".join(map(str, experiment.seeds)),
        "experiment": experiment.hash,
        **record.versions,
    }


def _rewound_to(experiment: Experiment, steps: int) -> str:
    if not experiment.rewinds_weights:
        return "nothing: the learning rate alone starts anew"
    step = experiment.rewind_step(steps)
    return f"step {step:,} of {steps:,}" if step else "the initialisation"
