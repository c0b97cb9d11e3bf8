"""The records and the table of ``featherweight distill``."""

from __future__ import annotations

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Column, Table

from featherweight.errors import SettingError
from featherweight.report import _check
from featherweight.report.pieces import Milliseconds
from featherweight.report.words import faster, fewer, percent, points

ALONE, DISTILLED = "student alone", "student distilled"


@dataclass(frozen=True)
class Training:
    """The epochs of one run.

    Attributes:
        label: which run.
        validation: accuracy on the validation split after each epoch, 0..1.
        seconds: wall-clock, of all epochs.

    Raises:
        SettingError: there is no epoch, or an accuracy is not in 0..1.
    """

    label: str
    validation: tuple[float, ...]
    seconds: float

    def __post_init__(self) -> None:
        if not self.validation:
            raise SettingError(f"The run {self.label!r} has no epoch.")
        for value in self.validation:
            _check.fraction(f"validation of run {self.label!r}", value)


@dataclass(frozen=True)
class ClassAgreement:
    """Share of the examples of one class on which student and teacher say the same.

    Attributes:
        name: of the class.
        examples: of that class, by their labels.
        alone: on how many of them the student that was trained alone agrees; None: there is none.
        distilled: on how many the distilled student does.

    Raises:
        SettingError: more agree than there are.
    """

    name: str
    examples: int
    alone: int | None
    distilled: int

    def __post_init__(self) -> None:
        _check.count(f"examples of class {self.name!r}", self.examples, 1)
        for value in (self.alone or 0, self.distilled):
            _check.count(f"agreement of class {self.name!r}", value)
            if value > self.examples:
                raise SettingError(f"{value:,} of only {self.examples:,} of class {self.name!r} agree.")


@dataclass(frozen=True)
class DistillRecord:
    """A student trained alone and with a teacher, for as many epochs, on the same batches.

    Attributes:
        teacher: as it was asked for.
        student: as it was asked for.
        data: as they were asked for.
        teacher_accuracy: on ``split``, 0..1 (so are the next two).
        student_alone_accuracy: trained on the labels alone; None: that was not run.
        student_distilled_accuracy: trained with the teacher, read back from the file.
        student_alone_agreement: share of the examples with the teacher's class, 0..1; None: not run.
        student_distilled_agreement: the same.
        split: that all of these were measured on.
        examples: in that split.
        teacher_params: parameters.
        student_params: parameters.
        teacher_ms: of a forward pass, in turns with the student.
        student_ms: of the student, alone or distilled.
        input_shape: sizes of the inputs of that pass, one tensor after the other.
        loss: what was compared.
        alpha: share of the teacher in the loss, as asked.
        temperature: as asked; None: that of the loss.
        epochs: of either run.
        learning_rate: of either run.
        seed: of everything random.
        runs: the epochs of each run.
        teacher_validation: accuracy of the teacher on the split of the runs' accuracies.
        classes: agreement by class.
        bytes_compact: of the file written.
        out: path of the file.
        machine: processor, threads, versions.

    Raises:
        SettingError: a value is out of range.
    """

    teacher: str
    student: str
    data: str
    teacher_accuracy: float
    student_alone_accuracy: float | None
    student_distilled_accuracy: float
    student_alone_agreement: float | None
    student_distilled_agreement: float
    split: str
    examples: int
    teacher_params: int
    student_params: int
    teacher_ms: Milliseconds
    student_ms: Milliseconds
    input_shape: tuple[tuple[int, ...], ...]
    loss: str
    alpha: tuple[float, ...]
    temperature: tuple[float, ...] | None
    epochs: int
    learning_rate: float
    seed: int
    runs: tuple[Training, ...]
    teacher_validation: float
    classes: tuple[ClassAgreement, ...]
    bytes_compact: int
    out: str
    machine: dict[str, str]

    def __post_init__(self) -> None:
        for name in ("teacher_accuracy", "student_alone_accuracy", "student_distilled_accuracy"):
            _check.fraction(name, getattr(self, name))
        for name in ("student_alone_agreement", "student_distilled_agreement", "teacher_validation"):
            _check.fraction(name, getattr(self, name))
        for name in ("examples", "teacher_params", "student_params", "epochs", "bytes_compact"):
            _check.count(name, getattr(self, name), 1)

    def to_json(self) -> str:
        """Return everything as a JSON object."""
        return _check.dump(self)


@dataclass(frozen=True)
class GridCell:
    """Validation accuracy, 0..1, of a student distilled with one temperature and one alpha.

    Raises:
        SettingError: a value is out of range.
    """

    temperature: float
    alpha: float
    validation: float

    def __post_init__(self) -> None:
        _check.fraction("alpha of a cell", self.alpha)
        _check.fraction("validation of a cell", self.validation)


@dataclass(frozen=True)
class GridRecord:
    """Students distilled with each temperature and each alpha, all else equal.

    Attributes:
        teacher: as it was asked for.
        student: as it was asked for.
        data: as they were asked for.
        loss: what was compared.
        epochs: of each cell.
        learning_rate: of each cell.
        seed: of each cell.
        alone: validation accuracy of the student alone, 0..1.
        teacher_validation: of the teacher.
        cells: each temperature with each alpha.
        examples: in the validation split.

    Raises:
        SettingError: there is no cell, or a value is out of range.
    """

    teacher: str
    student: str
    data: str
    loss: str
    epochs: int
    learning_rate: float
    seed: int
    alone: float
    teacher_validation: float
    cells: tuple[GridCell, ...]
    examples: int

    def __post_init__(self) -> None:
        for name in ("alone", "teacher_validation"):
            _check.fraction(name, getattr(self, name))
        for name in ("epochs", "examples"):
            _check.count(name, getattr(self, name), 1)
        if not self.cells:
            raise SettingError("A grid has at least one cell.")

    @property
    def best(self) -> GridCell:
        """The cell that validates best; the first of several."""
        return max(self.cells, key=lambda cell: cell.validation)

    def to_json(self) -> str:
        """Return everything as a JSON object."""
        return _check.dump(self)


def distill_table(record: DistillRecord) -> Table:
    """Return a table of the student alone, the student distilled, and the teacher."""
    titles = ("accuracy", "agrees with the teacher", "parameters", "ms (quartiles)")
    columns = [Column(title, justify="right", no_wrap=True) for title in titles]
    title = escape(f"{record.student}, taught by {record.teacher}")
    table = Table("", *columns, title=title, title_justify="left", title_style="bold")
    for row in distill_rows(record):
        table.add_row(*row, style="bold" if row[0] == DISTILLED else None)
    table.caption, table.caption_justify = escape(measured_line(record)), "left"
    return table


def distill_rows(record: DistillRecord) -> tuple[tuple[str, str, str, str, str], ...]:
    """Return the cells of the table, a row a network."""
    student = f"{record.student_params:,}", _spread(record.student_ms)
    rows: list[tuple[str, str, str, str, str]] = []
    if record.student_alone_accuracy is not None:
        agreement = record.student_alone_agreement
        said = "" if agreement is None else percent(agreement)
        rows.append((ALONE, percent(record.student_alone_accuracy), said, *student))
    figures = percent(record.student_distilled_accuracy), percent(record.student_distilled_agreement)
    rows.append((DISTILLED, *figures, *student))
    teacher = f"{record.teacher_params:,}", _spread(record.teacher_ms)
    return (*rows, ("teacher", percent(record.teacher_accuracy), "", *teacher))


def _spread(time: Milliseconds) -> str:
    return f"{time.median:.3g} ({time.low:.3g}-{time.high:.3g})"


def measured_line(record: DistillRecord) -> str:
    """Return what accuracy, agreement and milliseconds were measured on."""
    shape = " and ".join("x".join(map(str, sizes)) for sizes in record.input_shape)
    chosen = " (on which the epoch was chosen, too)" if record.split == "validation" else ""
    return (
        f"Accuracy and agreement (the same class as the teacher's) on the {record.split} split, "
        f"{record.examples:,} examples{chosen}; milliseconds in PyTorch, medians of "
        f"{record.student_ms.repeats} passes in turns, {shape}."
    )


def gain_line(record: DistillRecord) -> str:
    """Return what the teacher and the small size brought, in words."""
    parts = [
        fewer(record.teacher_params, record.student_params, "parameters than the teacher"),
        faster(record.teacher_ms.median, record.student_ms.median),
    ]
    if record.student_alone_accuracy is not None:
        change = points(record.student_alone_accuracy, record.student_distilled_accuracy)
        parts.append(f"{change} of accuracy against the student alone, {record.epochs} epochs each")
    return "; ".join(parts) + "."
