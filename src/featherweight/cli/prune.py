"""``featherweight prune``: prune a network of the user's own, with data or without."""

from __future__ import annotations

from pathlib import Path

from featherweight.cli import output
from featherweight.cli.failures import resumable
from featherweight.cli.pruning import options


def prune(
    model: options.Model,
    *,
    weights: options.Weights = None,
    data: options.Data = None,
    structured: options.Structured = False,
    one_shot: options.OneShot = None,
    sparsity: options.Sparsity = None,
    criterion: options.Criterion = None,
    allocation: options.Allocation = None,
    layer_sparsity: options.LayerSparsity = None,
    pattern: options.Pattern = None,
    schedule: options.Schedule = None,
    begin: options.Begin = None,
    epochs: options.Epochs = None,
    learning_rate: options.LearningRate = None,
    seed: options.Seed = 0,
    skip: options.Skip = None,
    examples: options.Examples = None,
    damping: options.Damping = None,
    correct_bias: options.CorrectBias = None,
    batch_norm: options.BatchNorm = None,
    run_dir: options.RunDir = None,
    keep: options.Keep = None,
    params: options.Params = None,
    macs: options.Macs = None,
    latency: options.Latency = None,
    scope: options.Scope = None,
    min_keep: options.MinKeep = None,
    round_to: options.RoundTo = None,
    blocks: options.Blocks = None,
    block_criterion: options.BlockCriterion = None,
    block_unit: options.BlockUnit = None,
    steps: options.Steps = None,
    penalty: options.Penalty = None,
    teacher: options.Teacher = None,
    teacher_loss: options.TeacherLoss = None,
    alpha: options.Alpha = None,
    temperature: options.Temperature = None,
    input_shape: options.InputShape = None,
    report: options.Report = None,
    out: options.Out = Path("small.safetensors"),
    values: options.Values = "fp32",
    json: output.JsonOption = None,
) -> None:
    """Prune a network and write it to a compact file; with data, fine-tune it while it is pruned.

    Weights become zero; with --structured, channels are removed, and the network is faster everywhere. With
    --one-shot, nothing is trained: the weights that are left make up for the others, layer by layer.
    Stopped with Ctrl-C while it works, the same command goes on where it was.
    """
    asked = dict(locals())
    for path, option in ((json, "--json"), (out, "--out"), (report, "--report")):
        output.check_target(path, option)
    options.refuse_idle(asked)
    with resumable("The same command goes on from what was saved."):
        if structured:
            from featherweight.cli.pruning.channels import run_channels
            from featherweight.cli.pruning.request import ChannelsRequest

            run_channels(ChannelsRequest.of(asked), json)
        else:
            from featherweight.cli.pruning.weights import Request, run_prune

            run_prune(Request.of(asked), json)
