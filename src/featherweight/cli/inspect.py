"""``featherweight inspect``: what is in a file, or what of a network would be pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from featherweight.cli import output
from featherweight.cli.choices import choices
from featherweight.cli.failures import resumable
from featherweight.cli.resolve import is_factory
from featherweight.errors import SettingError

_ONLY_SCAN = ("data", "keeps", "unstructured", "levels", "pattern", "criterion", "skip", "examples", "report")
_OF_GROUPS, _OF_WEIGHTS = ("keeps", "input_shape"), ("levels", "pattern")


def _scan(help: str, metavar: str | None = None) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel="With --sensitivity")


What = Annotated[
    str,
    typer.Argument(
        metavar="FILE|MODULE:FACTORY",
        help="A .safetensors file, module:factory, file.py:factory, or a network of the zoo.",
    ),
]
Weights = Annotated[Path | None, typer.Option(help="Safetensors file to fill the network with.")]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]SIZES[:TYPE]",
        help="Measure or trace the network on such an input, such as 1,3,224,224 (floats), 1,128:int64 "
        "(token ids, all 1) or mask=1,128:bool; once for each input.",
    ),
]
Groups = Annotated[
    bool, typer.Option("--groups", help="Show which layers are cut together, and why others cannot be.")
]
Sensitivity = Annotated[
    bool,
    typer.Option(
        "--sensitivity", help="Show the accuracy with each group, or layer, cut alone; needs --data."
    ),
]
Data = Annotated[
    str | None,
    _scan(
        "Returns (train, validate[, test]) loaders, or a data set of the zoo; validate is measured on.",
        "MODULE:FACTORY",
    ),
]
Keeps = Annotated[
    str | None,
    _scan("Fractions of a group's units to keep, 0.75,0.5,0.25,0.1 unless given.", "FRACTION,..."),
]
Unstructured = Annotated[
    bool,
    typer.Option(
        "--unstructured",
        help="Set single weights of each layer to zero, in place of cutting groups.",
        rich_help_panel="With --sensitivity",
    ),
]
Levels = Annotated[
    str | None,
    _scan(
        "With --unstructured: fractions of each layer; unless given 0.5,0.7,0.8,0.9,0.95,0.98,0.99,0.995.",
        "FRACTION,...",
    ),
]
Pattern = Annotated[
    str | None, _scan("With --unstructured: the shapes of the zeros, such as 2:4 or 1x4.", "NAME")
]
Criterion = Annotated[
    str | None,
    _scan(
        f"By which units go: {choices('structured/importance')} (l2 unless given). With --unstructured: "
        f"{choices('sparsity/criteria')} (magnitude unless given)."
    ),
]
Skip = Annotated[list[str] | None, _scan("Leave these parameters or modules alone.", "PATTERN")]
Examples = Annotated[
    str | None, _scan("Of the validation split, from all over it, 2000 unless given.", "N|all")
]
Report = Annotated[Path | None, _scan("Write a page with curves.", "FILE.html")]


def inspect(
    what: What,
    *,
    weights: Weights = None,
    input_shape: InputShape = None,
    groups: Groups = False,
    sensitivity: Sensitivity = False,
    data: Data = None,
    keeps: Keeps = None,
    unstructured: Unstructured = False,
    levels: Levels = None,
    pattern: Pattern = None,
    criterion: Criterion = None,
    skip: Skip = None,
    examples: Examples = None,
    report: Report = None,
    json: output.JsonOption = None,
) -> None:
    """Show the tensors of a file, or the weights of a network.

    With --groups: which of its layers go together; with --sensitivity: what the width of each is worth, or,
    with --unstructured, what zeros in each cost.
    """
    asked = dict(locals())
    output.check_target(json, "--json")
    output.check_target(report, "--report")
    if _is_file(what):
        from featherweight.cli.contents import refuse_network_options, show_file

        refuse_network_options(
            **{name: asked[name] or None for name in asked if name not in ("what", "json")}
        )
        output.write_json(json, show_file(Path(what)))
        return
    _refuse_idle(asked)
    if sensitivity and unstructured:
        from featherweight.cli.weight_sensitivity import WeightScan, show_weight_sensitivity

        with resumable("The same command goes on."):
            show_weight_sensitivity(WeightScan.of(asked))
    elif sensitivity:
        from featherweight.cli.sensitivity import Scan, show_sensitivity

        with resumable("The same command goes on."):
            show_sensitivity(Scan.of(asked))
    else:
        output.write_json(json, _shown(what, weights, input_shape or (), groups=groups))


def _shown(what: str, weights: Path | None, input_shape: Sequence[str], *, groups: bool) -> dict[str, Any]:
    """Print the groups or the weights of a network; return the record."""
    if groups:
        from featherweight.cli.groups import show_groups

        return show_groups(what, weights, input_shape)
    from featherweight.cli.anatomy import show_network

    return show_network(what, weights, input_shape)


def _refuse_idle(asked: Mapping[str, Any]) -> None:
    if asked["sensitivity"] and asked["groups"]:
        raise SettingError("--groups and --sensitivity show different things: give one of them.")
    if asked["sensitivity"] and asked["data"] is None:
        raise SettingError("--sensitivity measures accuracy: give --data module:factory, or a data set.")
    for name in _ONLY_SCAN:
        if asked[name] and not asked["sensitivity"]:
            raise SettingError(f"--{name} would do nothing without --sensitivity.")
    for name in _OF_GROUPS if asked["unstructured"] else _OF_WEIGHTS:
        if asked["sensitivity"] and asked[name]:
            word = "with" if asked["unstructured"] else "without"
            raise SettingError(f"--{name.replace('_', '-')} would do nothing {word} --unstructured.")


def _is_file(what: str) -> bool:
    if is_factory(what) or what.endswith(".py"):
        return False
    return what.endswith(".safetensors") or Path(what).is_file() or "/" in what
