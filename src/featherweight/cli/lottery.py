"""``featherweight lottery``: lottery tickets by iterative pruning with rewinding, beside their controls."""

from __future__ import annotations

from featherweight.cli import output
from featherweight.cli.failures import resumable
from featherweight.cli.lottery_tickets import options


def lottery(
    *,
    network: options.Network,
    data: options.Data,
    levels: options.Levels = 12,
    fraction: options.Fraction = 0.2,
    output_fraction: options.OutputFraction = None,
    rewind: options.Rewind = "0",
    branch: options.Branch = None,
    seeds: options.Seeds = "0,1,2",
    allocation: options.Allocation = "global",
    skip: options.Skip = None,
    epochs: options.Epochs = None,
    learning_rate: options.LearningRate = None,
    rate: options.Rate = None,
    optimizer: options.Optimizer = None,
    weight_decay: options.WeightDecay = None,
    precision: options.Precision = None,
    batch_size: options.BatchSize = None,
    augment: options.Augment = False,
    out: options.Out = None,
    workers: options.Workers = 1,
    report: options.Report = None,
    json: output.JsonOption = None,
) -> None:
    """Prune a network level by level, rewind its weights each time, and train it beside its controls.

    At each level a fraction of the weights that are left goes, and what stays is rewound and trained again.
    Controls train as long on the same batches. The epoch is chosen on the validation split; the test split is
    read once a level. Stopped at any moment, the same command goes on where it was.
    """
    asked = dict(locals())
    for path, option in ((json, "--json"), (report, "--report")):
        output.check_target(path, option)
    with resumable("The same command goes on where it was."):
        from featherweight.cli.lottery_tickets.flow import run_lottery

        run_lottery(asked)
