"""What the pictures show, as plain data."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from featherweight.errors import SettingError
from featherweight.report import _check


@dataclass(frozen=True)
class Curve:
    """Accuracy against the weights that remain, for one way of pruning.

    Attributes:
        label: which way.
        kept: fraction of the prunable weights that is not zero, 0..1, a point each.
        accuracy: 0..1, as many.
        split: what it was measured on, such as "validation".
        examples: in that split.
        note: what a point is, such as "one point per epoch of the same run".

    Raises:
        SettingError: a fraction is not in 0..1, or the points are not as many.
    """

    label: str
    kept: tuple[float, ...]
    accuracy: tuple[float, ...]
    split: str
    examples: int
    note: str

    def __post_init__(self) -> None:
        _check.same_length(f"kept and accuracy of curve {self.label!r}", len(self.kept), len(self.accuracy))
        for name, values in (("kept", self.kept), ("accuracy", self.accuracy)):
            for value in values:
                _check.fraction(f"{name} of curve {self.label!r}", value)
        _check.count(f"examples of curve {self.label!r}", self.examples, 1)


@dataclass(frozen=True)
class LayerSparsity:
    """How many of a layer's ``numel`` weights are ``kept`` (not zero).

    Raises:
        SettingError: more are kept than there are.
    """

    name: str
    numel: int
    kept: int

    def __post_init__(self) -> None:
        _check.count(f"numel of layer {self.name!r}", self.numel, 1)
        _check.count(f"kept of layer {self.name!r}", self.kept)
        if self.kept > self.numel:
            raise SettingError(f"Layer {self.name!r} keeps {self.kept:,} of only {self.numel:,} weights.")

    @property
    def fraction(self) -> float:
        """Fraction of the weights that is kept, 0..1."""
        return self.kept / self.numel


@dataclass(frozen=True)
class Histogram:
    """Distribution of a layer's weights before and after pruning, zeros left out.

    Attributes:
        name: of the layer.
        edges: of the bins, rising, one more than bins.
        before: number of weights in each bin of the dense network.
        after: the same, of the pruned network.

    Raises:
        SettingError: the edges do not rise, or the bins are not as many.
    """

    name: str
    edges: tuple[float, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, counts in (("before", self.before), ("after", self.after)):
            _check.same_length(
                f"bins and {name} of histogram {self.name!r}", len(self.edges) - 1, len(counts)
            )
        if not self.before or not all(low < high for low, high in itertools.pairwise(self.edges)):
            raise SettingError(f"The edges of histogram {self.name!r} must be at least two, and rise.")


@dataclass(frozen=True)
class CodingBytes:
    """Bytes that the same tensors take under one way of writing them.

    Raises:
        SettingError: ``bytes`` is negative.
    """

    name: str
    bytes: int

    def __post_init__(self) -> None:
        _check.count(f"bytes of coding {self.name!r}", self.bytes)


@dataclass(frozen=True)
class Width:
    """How many channels (heads, features) a layer had ``before`` and has ``after`` structured pruning.

    Raises:
        SettingError: there are more after than before.
    """

    name: str
    before: int
    after: int

    def __post_init__(self) -> None:
        _check.count(f"width of {self.name!r} before", self.before, 1)
        _check.count(f"width of {self.name!r} after", self.after)
        if self.after > self.before:
            raise SettingError(f"{self.name!r} has {self.after:,} of only {self.before:,} channels left.")


@dataclass(frozen=True)
class Milliseconds:
    """Time of a forward pass: median and quartiles of ``repeats`` passes.

    Raises:
        SettingError: one is not above 0, or they are out of order.
    """

    median: float
    low: float
    high: float
    repeats: int

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.median <= self.high:
            raise SettingError(
                f"Quartiles of a time rise from above 0, got {self.low}, {self.median} and {self.high} ms."
            )
        _check.count("repeats of a time", self.repeats, 1)

    def __str__(self) -> str:
        return f"{self.median:.3g} ms"


@dataclass(frozen=True)
class CutStep:
    """One cut of a stepwise pruning, and the fine-tuning after it.

    Attributes:
        left: fraction of the target's quantity that is left of the first network, 0..1.
        params: parameters left.
        macs: multiply-accumulates left.
        cut: accuracy on the validation split after the cut, batch norm estimated anew, 0..1.
        tuned: the same after fine-tuning.

    Raises:
        SettingError: a fraction is not in 0..1, or a count is negative.
    """

    left: float
    params: int
    macs: int
    cut: float
    tuned: float

    def __post_init__(self) -> None:
        for name in ("cut", "tuned"):
            _check.fraction(f"accuracy {name} of a step", getattr(self, name))
        for name in ("params", "macs"):
            _check.count(f"{name} of a step", getattr(self, name))


@dataclass(frozen=True)
class WidthCurve:
    """Score of a network with only the group ``name`` cut, against the fraction of it that was kept.

    Attributes:
        name: of the group.
        units: that it has whole.
        kept: fraction of them that stayed, 0..1, a point each.
        scores: as many.

    Raises:
        SettingError: a fraction is not in 0..1, or the points are not as many.
    """

    name: str
    units: int
    kept: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        _check.same_length(f"kept and scores of group {self.name!r}", len(self.kept), len(self.scores))
        _check.count(f"units of group {self.name!r}", self.units, 1)
        for value in self.kept:
            _check.fraction(f"kept of group {self.name!r}", value)


@dataclass(frozen=True)
class Taught:
    """A student distilled in the demo, and the same student trained alone for as many epochs.

    Attributes:
        teacher_accuracy: on the test images, 0..1 (so are the next two).
        student_alone_accuracy: trained on the labels alone.
        student_distilled_accuracy: trained with the teacher.
        student_params: parameters.
        teacher_params: parameters.

    Raises:
        SettingError: a value is out of range.
    """

    teacher_accuracy: float
    student_alone_accuracy: float
    student_distilled_accuracy: float
    student_params: int
    teacher_params: int

    def __post_init__(self) -> None:
        for name in ("teacher_accuracy", "student_alone_accuracy", "student_distilled_accuracy"):
            _check.fraction(name, getattr(self, name))
        for name in ("student_params", "teacher_params"):
            _check.count(name, getattr(self, name), 1)
