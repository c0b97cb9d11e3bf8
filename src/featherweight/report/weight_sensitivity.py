"""The page about what the zeros of each layer cost."""

from __future__ import annotations

from dataclasses import dataclass

from featherweight.report import _check, plots
from featherweight.report.html import render
from featherweight.report.pieces import WidthCurve
from featherweight.report.plots.sensitivity import OF_LAYERS
from featherweight.report.words import percent


@dataclass(frozen=True)
class WeightSensitivityRecord:
    """What a scan of each layer's sparsity found.

    Attributes:
        model: as it was asked for.
        metric: what a score is; "accuracy" is in 0..1.
        whole: score of the network as it is.
        whole_loss: its loss.
        examples: that everything was measured on.
        criterion: by which the weights that go were chosen.
        pattern: the shapes of the zeros.
        levels: sparsities of a layer, rising.
        curves: a layer each, with as many points as there are ``levels``.
        losses: of each layer, as many.
        skipped: weights that were left alone on request.

    Raises:
        SettingError: a layer has another number of points, or there is no example.
    """

    model: str
    metric: str
    whole: float
    whole_loss: float
    examples: int
    criterion: str
    pattern: str
    levels: tuple[float, ...]
    curves: tuple[WidthCurve, ...]
    losses: tuple[tuple[float, ...], ...]
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check.count("examples", self.examples, 1)
        _check.same_length("curves and losses", len(self.curves), len(self.losses))
        for curve, losses in zip(self.curves, self.losses, strict=True):
            _check.same_length(f"levels and points of {curve.name!r}", len(self.levels), len(curve.kept))
            _check.same_length(f"levels and losses of {curve.name!r}", len(self.levels), len(losses))


def weight_sensitivity_page(record: WeightSensitivityRecord) -> str:
    """Return the report of a scan as an HTML page; needs matplotlib and jinja2.

    Raises:
        ModuleNotFoundError: they are not installed; ``featherweight[torch]`` brings them.
    """
    shown = percent if record.metric == "accuracy" else "{:.4g}".format
    return render(
        "weight_sensitivity.html",
        {
            "curves": plots.sensitivity(record.curves, record.whole, record.metric, OF_LAYERS),
            "heat": plots.heat_map(record.curves, record.levels, record.whole, record.metric),
        },
        record=record,
        shown=shown,
    )
