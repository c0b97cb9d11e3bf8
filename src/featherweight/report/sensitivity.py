"""The pages about what the width of each group is worth, and what the zeros of each layer cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featherweight.report import _check, plots
from featherweight.report.html import render
from featherweight.report.pieces import WidthCurve
from featherweight.report.plots.sensitivity import OF_LAYERS
from featherweight.report.words import percent


@dataclass(frozen=True, kw_only=True)
class ScanRecord:
    """What a scan found that changed one part of a network at a time.

    Attributes:
        model: as it was asked for.
        metric: what a score is; "accuracy" is in 0..1.
        whole: score of the network as it is.
        examples: that everything was measured on.
        criterion: by which what goes was chosen.
        curves: a part each.
        skipped: parts that were left alone on request.

    Raises:
        SettingError: a part has another number of points than were asked for, or there is no example.
    """

    model: str
    metric: str
    whole: float
    examples: int
    criterion: str
    curves: tuple[WidthCurve, ...]
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check.count("examples", self.examples, 1)

    def shown(self, score: float) -> str:
        """Return a score as the page shows it."""
        return percent(score) if self.metric == "accuracy" else f"{score:.4g}"

    def _check_points(self, asked: Sequence[float], what: str, part: str = "") -> None:
        for curve in self.curves:
            _check.same_length(f"{what} and points of {part}{curve.name!r}", len(asked), len(curve.kept))


@dataclass(frozen=True, kw_only=True)
class SensitivityRecord(ScanRecord):
    """What a scan of each group's width found.

    Attributes:
        keeps: fractions of the units that were kept.
    """

    keeps: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_points(self.keeps, "keeps", "group ")


@dataclass(frozen=True, kw_only=True)
class WeightSensitivityRecord(ScanRecord):
    """What a scan of each layer's sparsity found.

    Attributes:
        whole_loss: loss of the network as it is.
        pattern: the shapes of the zeros.
        levels: sparsities of a layer, rising.
        losses: of each layer, as many as there are ``levels``.
    """

    whole_loss: float
    pattern: str
    levels: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_points(self.levels, "levels")
        _check.same_length("curves and losses", len(self.curves), len(self.losses))
        for curve, losses in zip(self.curves, self.losses, strict=True):
            _check.same_length(f"levels and losses of {curve.name!r}", len(self.levels), len(losses))


def sensitivity_page(record: SensitivityRecord) -> str:
    """Return the report of a scan of widths as an HTML page; needs matplotlib and jinja2.

    Raises:
        ModuleNotFoundError: they are not installed; ``featherweight[torch]`` brings them.
    """
    pictures = {"sensitivity": plots.sensitivity(record.curves, record.whole, record.metric)}
    return render("sensitivity.html", pictures, record=record, shown=record.shown)


def weight_sensitivity_page(record: WeightSensitivityRecord) -> str:
    """Return the report of a scan of zeros as an HTML page; needs matplotlib and jinja2.

    Raises:
        ModuleNotFoundError: they are not installed; ``featherweight[torch]`` brings them.
    """
    pictures = {
        "curves": plots.sensitivity(record.curves, record.whole, record.metric, OF_LAYERS),
        "heat": plots.heat_map(record.curves, record.levels, record.whole, record.metric),
    }
    return render("weight_sensitivity.html", pictures, record=record, shown=record.shown)
