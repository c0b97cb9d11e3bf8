"""Pictures: each a function of records that returns an SVG, complete by itself, on a transparent ground."""

from featherweight.report.plots.accuracy import accuracy_against_weights
from featherweight.report.plots.agreement import agreement
from featherweight.report.plots.codings import bytes_by_coding
from featherweight.report.plots.grid import grid
from featherweight.report.plots.heat import heat_map
from featherweight.report.plots.histograms import weight_histograms
from featherweight.report.plots.layers import layer_sparsity
from featherweight.report.plots.lottery import lottery
from featherweight.report.plots.milliseconds import milliseconds
from featherweight.report.plots.sensitivity import sensitivity
from featherweight.report.plots.steps import steps
from featherweight.report.plots.training import training
from featherweight.report.plots.widths import widths

__all__ = [
    "accuracy_against_weights",
    "agreement",
    "bytes_by_coding",
    "grid",
    "heat_map",
    "layer_sparsity",
    "lottery",
    "milliseconds",
    "sensitivity",
    "steps",
    "training",
    "weight_histograms",
    "widths",
]
