"""The record and the tables of ``featherweight prune --structured``."""

from __future__ import annotations

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Column, Table

from featherweight.errors import SettingError
from featherweight.report import _check
from featherweight.report.comparison import Line
from featherweight.report.pieces import CutStep, Milliseconds, Width
from featherweight.report.words import faster, fewer, percent, points


@dataclass(frozen=True)
class StructuredRecord:
    """A network with channels, heads or blocks removed on the command line; pairs are before and after.

    Attributes:
        model: as it was asked for.
        criterion: by which what goes was chosen.
        target: what was to be reached: "keep", "params", "macs", "latency", or "blocks" alone.
        asked: fraction that was to be left at most, 0..1.
        predicted: that the (last) selection was to leave; None where that was not noted.
        achieved: that is left, counted or measured on the result.
        params: parameters.
        nonzero: of these, those that are not zero.
        macs: multiply-accumulates of a forward pass, zeros included.
        times: of a forward pass, measured in turns.
        input_shape: sizes of the inputs of that pass, one tensor after the other.
        bytes_dense: of all tensors before, dense.
        bytes_compact: of the file written.
        sparsity: fraction of the prunable weights of the cut network that is zero; None: none were to be.
        accuracy: 0..1; None where there were no data.
        split: that accuracy was measured on; None where there were no data.
        examples: in that split; None where there were no data.
        widths: of each group.
        removed_blocks: blocks that were removed whole.
        skipped: groups that were left alone on request.
        steps: where it was done in steps.
        validation_before: accuracy of the network as given on the split of the steps' accuracies.
        same_class: whether the class could stay; if not, the file's network is a rewritten graph.
        reload_difference: of the outputs of a fresh network filled from the file, over the largest output.
        out: path of the file.
        seed: of everything random.
        machine: processor, threads, versions.

    Raises:
        SettingError: a value is out of range, or an accuracy comes without its examples.
    """

    model: str
    criterion: str
    target: str
    asked: float
    predicted: float | None
    achieved: float
    params: tuple[int, int]
    nonzero: tuple[int, int]
    macs: tuple[int, int]
    times: tuple[Milliseconds, Milliseconds]
    input_shape: tuple[tuple[int, ...], ...]
    bytes_dense: int
    bytes_compact: int
    sparsity: float | None
    accuracy: tuple[float, float] | None
    split: str | None
    examples: int | None
    widths: tuple[Width, ...]
    removed_blocks: tuple[str, ...]
    skipped: tuple[str, ...]
    steps: tuple[CutStep, ...]
    validation_before: float | None
    same_class: bool
    reload_difference: float
    out: str
    seed: int
    machine: dict[str, str]

    def __post_init__(self) -> None:
        for name in ("params", "nonzero", "macs"):
            for value in getattr(self, name):
                _check.count(name, value)
        for name in ("bytes_dense", "bytes_compact"):
            _check.count(name, getattr(self, name))
        for name in ("asked", "sparsity", "validation_before"):
            _check.fraction(name, getattr(self, name))
        for value in self.accuracy or ():
            _check.fraction("accuracy", value)
        if self.accuracy is not None and not (self.examples and self.split):
            raise SettingError(
                f"An accuracy needs its split and examples, got {self.split}, {self.examples}."
            )

    @property
    def speedup(self) -> float:
        """How many times faster the result is: the quotient of the two medians."""
        return self.times[0].median / self.times[1].median

    def to_json(self) -> str:
        """Return everything as a JSON object."""
        return _check.dump(self)


def structured_lines(record: StructuredRecord) -> tuple[Line, ...]:
    """Return the network before and after, a line an axis, each change with the name of its axis."""
    dense, compact = record.bytes_dense, record.bytes_compact
    nonzero = () if record.sparsity is None else (_counts("nonzero parameters", record.nonzero),)
    return (
        _counts("parameters", record.params),
        *nonzero,
        _counts("MACs", record.macs),
        _times(record),
        Line("bytes", f"{dense:,}", f"{compact:,}", fewer(dense, compact, "bytes on disk")),
        _accuracy(record),
    )


def target_line(record: StructuredRecord) -> str:
    """Return what was asked, predicted and achieved; of blocks alone no fraction was asked."""
    if record.target == "blocks":
        return f"Left of its blocks: {percent(record.achieved)}."
    predicted = "" if record.predicted is None else f"{percent(record.predicted)} predicted, "
    steps = f" in {len(record.steps)} steps" if len(record.steps) > 1 else ""
    return (
        f"Left of {what_is_left(record)}: at most {percent(record.asked)} asked, {predicted}"
        f"{percent(record.achieved)} achieved{steps}."
    )


def what_is_left(record: StructuredRecord) -> str:
    """Return the target in words."""
    words = {"keep": "its units", "params": "its parameters", "macs": "its MACs", "latency": "its time"}
    return words.get(record.target, "its blocks")


def check_line(record: StructuredRecord) -> str:
    """Return what loading the file anew showed."""
    kind = (
        "" if record.same_class else ", which is a rewritten graph since sizes are written into its forward,"
    )
    return (
        f"Loaded from {record.out}, the network{kind} has the same tensors bit for bit, and outputs within "
        f"{record.reload_difference:.1g} of the largest."
    )


def structured_tables(record: StructuredRecord) -> tuple[Table, ...]:
    """Return the table of the network before and after, that of its groups, and that of steps, if any."""
    right = [Column(title, justify="right", no_wrap=True) for title in ("before", "after")]
    title = escape(f"{record.model} -> {record.out}")
    table = Table("", *right, "change", title=title, title_justify="left")
    for line in structured_lines(record):
        table.add_row(line.what, line.before, line.after, line.change)
    tables = [table, _widths(record)]
    return (*tables, _steps(record)) if record.steps else tuple(tables)


def _widths(record: StructuredRecord) -> Table:
    columns = [Column(title, justify="right") for title in ("before", "after", "kept")]
    table = Table("group", *columns)
    for width in record.widths:
        kept = percent(width.after / width.before, 0)
        note = " (left alone)" if width.name in record.skipped else ""
        table.add_row(escape(width.name) + note, f"{width.before:,}", f"{width.after:,}", kept)
    return table


def _steps(record: StructuredRecord) -> Table:
    titles = ("left", "parameters", "MACs", "accuracy after the cut", "after fine-tuning")
    table = Table("cut", *(Column(title, justify="right") for title in titles))
    for number, step in enumerate(record.steps, start=1):
        counts = percent(step.left), f"{step.params:,}", f"{step.macs:,}"
        table.add_row(str(number), *counts, percent(step.cut), percent(step.tuned))
    before = "" if record.validation_before is None else f"; {percent(record.validation_before)} before"
    table.caption = f"accuracy on the validation split{before}"
    table.caption_justify = "left"
    return table


def _counts(what: str, pair: tuple[int, int]) -> Line:
    return Line(what, f"{pair[0]:,}", f"{pair[1]:,}", fewer(*pair, what))


def _times(record: StructuredRecord) -> Line:
    before, after = record.times
    shape = " and ".join("x".join(map(str, sizes)) for sizes in record.input_shape)
    change = (
        f"{faster(before.median, after.median)} in PyTorch (medians of {after.repeats} in turns, {shape})"
    )
    return Line("milliseconds (quartiles)", _spread(before), _spread(after), change)


def _spread(time: Milliseconds) -> str:
    return f"{time.median:.3g} ({time.low:.3g}-{time.high:.3g})"


def _accuracy(record: StructuredRecord) -> Line:
    if record.accuracy is None:
        return Line("accuracy", "not measured", "not measured", "no data were given")
    before, after = record.accuracy
    change = f"{points(before, after)} of accuracy on {record.examples:,} examples ({record.split})"
    return Line("accuracy", percent(before), percent(after), change)
