"""The options of ``featherweight prune``, and which of them do something together; no torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from featherweight.cli.choices import choices
from featherweight.errors import SettingError

_WITH_DATA = "with --data only."

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:FACTORY",
        help="module:factory, file.py:factory, or a network of the zoo, also with options: "
        "mobilenet_v1:width=0.25.",
    ),
]
Weights = Annotated[Path | None, typer.Option(help="Safetensors file to fill the network with.")]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FACTORY",
        help="Returns (train, validate[, test]) loaders; or a data set of the zoo. "
        "Without it: no fine-tuning.",
    ),
]
Sparsity = Annotated[
    float | None,
    typer.Option(
        help="Fraction of the prunable weights to be zero, 0.9 unless given (with --one-shot, 0.5). With "
        "--structured: of what is left of the network, and only if given."
    ),
]
Criterion = Annotated[
    str | None,
    typer.Option(
        help=f"How much a weight matters: {choices('sparsity/criteria')} (magnitude unless given). With "
        f"--structured, a channel: {choices('structured/importance')} (l2 unless given). With --one-shot, "
        f"the allocation looks at it."
    ),
]
Allocation = Annotated[
    str | None,
    typer.Option(
        help=f"How many weights each layer keeps: {choices('sparsity/allocation')} (global unless given; "
        f"with --one-shot, uniform)."
    ),
]
LayerSparsity = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN=FRACTION",
        help="Sparsity of the layers of this name or pattern, such as 'fc*=0.95'; may be given several "
        "times. The others share what is left of the total, by --allocation.",
    ),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        help=f"The shapes that zeros may have: {choices('sparsity/patterns')}, or any N:M or RxC (outputs x "
        f"inputs) in numbers (unstructured unless given)."
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        help=f"When to prune weights: {choices('sparsity/schedules')} (cubic unless given); {_WITH_DATA}"
    ),
]
Begin = Annotated[
    float | None,
    typer.Option(
        metavar="FRACTION",
        help=f"When the schedule begins, as a fraction of the training; movement has to see some before; "
        f"{_WITH_DATA}",
    ),
]
Epochs = Annotated[int | None, typer.Option(help=f"Of fine-tuning, 5 unless given; {_WITH_DATA}")]
LearningRate = Annotated[float | None, typer.Option(help=f"Of fine-tuning, 0.05 unless given; {_WITH_DATA}")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Skip = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help="Leave these parameters or modules alone.")
]
Out = Annotated[Path, typer.Option(help="The compact file to write.")]
Values = Annotated[str, typer.Option(help="In the file: fp32 (bit for bit), fp16 or bf16.")]

_PANEL = "With --structured"


def _structured(help: str, metavar: str | None = None) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel=_PANEL)


Structured = Annotated[
    bool,
    typer.Option(
        "--structured",
        help="Remove whole channels, heads or blocks; with --sparsity, weights of what is left after that.",
    ),
]
Keep = Annotated[float | None, _structured("Fraction of all channels to keep at most.", "FRACTION")]
Params = Annotated[float | None, _structured("Fraction of the parameters to keep at most.", "FRACTION")]
Macs = Annotated[
    float | None, _structured("Fraction of the multiply-accumulates to keep at most.", "FRACTION")
]
Latency = Annotated[
    float | None,
    _structured("Fraction of the time of a forward pass to keep at most, measured here.", "FRACTION"),
]
Scope = Annotated[
    str | None, _structured("Rank channels globally (global, unless given) or cut each group alike (group).")
]
MinKeep = Annotated[int | None, _structured("Channels that each group keeps at least, 1 unless given.")]
RoundTo = Annotated[
    int | None,
    _structured(
        "Groups keep multiples of this many channels, 1 unless given; those with fewer are not rounded."
    ),
]
Blocks = Annotated[
    str | None,
    _structured(
        "Residual blocks or layers to remove whole before channels: a number, which needs no target; auto "
        "tries how many; only reaches the target without cutting channels.",
        "N|auto|only",
    ),
]
BlockCriterion = Annotated[
    str | None,
    _structured(
        f"How much a block matters: {choices('structured/depth/importance')} (loss unless given, "
        f"similarity without --data)."
    ),
]
BlockUnit = Annotated[
    str | None,
    _structured(
        "What a block is: a whole layer (block, unless given) or each of its residual branches (branch)."
    ),
]
Steps = Annotated[int | None, _structured(f"Cuts, with fine-tuning after each, 3 unless given; {_WITH_DATA}")]
Penalty = Annotated[
    float | None,
    _structured(f"Before each cut, train with a growing penalty on what goes (1.0 is usual); {_WITH_DATA}"),
]
InputShape = Annotated[
    list[str] | None,
    _structured(
        "Trace and time the network on such an input, such as 1,3,224,224 (floats), 1,128:int64 (token ids, "
        "all 1) or mask=1,128:bool; once for each input. Without it: one of the data.",
        "[NAME=]SIZES[:TYPE]",
    ),
]
Report = Annotated[
    Path | None, _structured("Write one page with tables and pictures to this file.", "FILE.html")
]

_AT_ONCE = "With --one-shot"


def _at_once(help: str, metavar: str | None = None) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel=_AT_ONCE)


OneShot = Annotated[
    str | None,
    typer.Option(
        "--one-shot",
        metavar="METHOD",
        help=f"Prune layer by layer without training; what is left makes up for what went, as far as --data "
        f"show: {choices('sparsity/oneshot')}.",
    ),
]
Examples = Annotated[
    str | None,
    _at_once(
        "Examples of the training split to calibrate with, at least, 128 unless given; or all.", "N|all"
    ),
]
Damping = Annotated[
    float | None,
    _at_once(
        "Added to the diagonal of each Hessian, as a fraction of its mean, 0.01 unless given.", "FRACTION"
    ),
]
CorrectBias = Annotated[
    bool | None,
    typer.Option(
        "--correct-bias/--keep-bias",
        help="Add to biases what outputs lost on average (done unless given).",
        rich_help_panel=_AT_ONCE,
    ),
]
BatchNorm = Annotated[
    str | None,
    _at_once(
        "What becomes of the statistics of batch norm at the end: match those of the dense network (unless "
        "given), reestimate them, or keep them.",
        "match|reestimate|keep",
    ),
]
RunDir = Annotated[
    Path | None,
    _at_once(
        "Keep finished layers in this folder, and go on from it; unless given, they are beside --out until "
        "it is written.",
        "FOLDER",
    ),
]

_TAUGHT = "With --teacher"
Teacher = Annotated[
    str | None,
    typer.Option(
        metavar="dense|MODULE:FACTORY",
        help="While fine-tuning, learn from this network beside the labels: dense is the network as it was; "
        f"or one with the same outputs, named like the first argument; {_WITH_DATA}",
    ),
]
TeacherLoss = Annotated[
    str | None,
    typer.Option(
        help=f"What is compared, such as kd or 'kd + 50*at': {choices('distillation/losses')} (kd unless "
        f"given).",
        rich_help_panel=_TAUGHT,
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(help="Share of the teacher in the loss, 0..1, 0.5 unless given.", rich_help_panel=_TAUGHT),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="At which classes are compared; that of the loss unless given, 4 for kd.",
        rich_help_panel=_TAUGHT,
    ),
]

TARGETS = ("keep", "params", "macs", "latency")
_STRUCTURED = (
    *TARGETS, "scope", "min_keep", "round_to", "blocks", "block_criterion", "block_unit", "steps", "penalty",
    "input_shape", "report",
)  # fmt: skip
_OF_BLOCKS = ("block_criterion", "block_unit")
_AIMED = ("steps", "penalty", "scope", "min_keep", "round_to", "criterion")
_WEIGHTS = ("allocation", "layer_sparsity", "pattern", "schedule", "begin")
_TRAINED = ("schedule", "begin", "epochs", "learning_rate", "steps", "penalty", "teacher")
_ONE_SHOT = ("examples", "damping", "correct_bias", "batch_norm", "run_dir")
_OF_TEACHER = ("teacher_loss", "alpha", "temperature")


def refuse_idle(asked: Mapping[str, Any]) -> None:
    """Refuse options that would do nothing together with the others.

    Args:
        asked: what was given, by parameter name; None: not given.

    Raises:
        SettingError: one would do nothing; says without what.
    """
    if asked["one_shot"] is None:
        _refuse(asked, _ONE_SHOT, "without --one-shot METHOD.")
    else:
        _check_one_shot(asked)
    if not asked["structured"]:
        _refuse(asked, _STRUCTURED, "without --structured: only zeros are made, and shapes stay.")
    elif asked["sparsity"] is None:
        _refuse(asked, _WEIGHTS, "without --sparsity: with --structured alone no single weight is pruned.")
    if asked["structured"]:
        if asked["blocks"] in (None, "0"):
            _refuse(asked, _OF_BLOCKS, "without --blocks: no block is removed.")
        elif all(asked[name] is None for name in TARGETS):
            _refuse(asked, _AIMED, "with --blocks alone: no channel is cut. Give --params or --macs too.")
    if asked["teacher"] is None:
        _refuse(asked, _OF_TEACHER, "without --teacher: the network learns from the labels alone.")
    if asked["data"] is None:
        _refuse(asked, _TRAINED, "without --data: there is nothing to fine-tune on.")


def _check_one_shot(asked: Mapping[str, Any]) -> None:
    if asked["structured"]:
        raise SettingError(
            "--one-shot prunes single weights, --structured channels: first --structured alone, then "
            "--one-shot on its result, with --weights FILE."
        )
    _refuse(asked, (*_TRAINED, *_OF_TEACHER), "with --one-shot: nothing is trained.")
    if asked["data"] is None:
        raise SettingError(
            "--one-shot looks at data: give --data. To prune by magnitude without any, leave --one-shot out."
        )


def _refuse(asked: Mapping[str, Any], names: tuple[str, ...], why: str) -> None:
    given = [f"--{name.replace('_', '-')}" for name in names if asked[name] is not None]
    if given:
        raise SettingError(f"{', '.join(given)} would do nothing {why}")
