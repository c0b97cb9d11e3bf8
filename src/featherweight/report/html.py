"""One self-contained page: pictures and style inside, nothing loaded from elsewhere."""

from __future__ import annotations

import os
import re
from typing import Any

from featherweight import __version__
from featherweight.artifact.atomic import replacing
from featherweight.report import plots
from featherweight.report.comparison import check_line, comparison
from featherweight.report.plots import _canvas
from featherweight.report.records import DemoRecord
from featherweight.report.words import percent, points, times_fewer

_VARIABLES = {
    _canvas.INK: "var(--ink)",
    _canvas.FAINT: "var(--line)",
    _canvas.GROUND: "var(--ground)",
} | {colour: f"var(--c{number})" for number, colour in enumerate(_canvas.COLOURS)}


def demo_page(record: DemoRecord) -> str:
    """Return the demo's report as an HTML page; needs matplotlib and jinja2.

    Raises:
        ModuleNotFoundError: they are not installed; ``featherweight[torch]`` brings them.
    """
    return render(
        "demo.html",
        _pictures(record),
        record=record,
        headlines=headlines(record),
        sections=comparison(record),
        check=check_line(record),
    )


def write_page(record: DemoRecord, path: str | os.PathLike[str]) -> None:
    """Write the demo's report to ``path``, whole or not at all.

    Raises:
        ArtifactError: it cannot be written there.
    """
    write_html(demo_page(record), path)


def write_html(page: str, path: str | os.PathLike[str]) -> None:
    """Write a page to ``path``, whole or not at all.

    Raises:
        ArtifactError: it cannot be written there.
    """
    with replacing(path, "w") as file:
        file.write(page)


def render(template: str, pictures: dict[str, str], **values: Any) -> str:
    """Return the page that ``template`` makes of pictures (SVG) and values; needs jinja2.

    Raises:
        ModuleNotFoundError: it is not installed; ``featherweight[torch]`` brings it.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Pictures are SVG of our own making, escaped by matplotlib, and go in as they are; all else is escaped.
    environment = Environment(
        loader=PackageLoader("featherweight.report", "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["percent"] = percent
    themed_pictures = {name: themed(svg) for name, svg in pictures.items()}
    return environment.get_template(template).render(version=__version__, pictures=themed_pictures, **values)


def headlines(record: DemoRecord) -> list[tuple[str, str]]:
    """Return the figures at the top of the page, each with the name of its axis."""
    dense = record.bytes_dense
    change = points(record.dense_accuracy, record.pruned_accuracy).removesuffix(" points")
    return [
        (times_fewer(1, 1 - record.sparsity), "fewer nonzero prunable weights"),
        (times_fewer(dense, record.bytes_compact), "fewer bytes on disk (fp32, lossless)"),
        (times_fewer(dense, record.bytes_compact_fp16), "fewer bytes on disk (fp16, against fp32)"),
        (change, f"points of accuracy on {record.test_examples:,} test images"),
        (f"{record.structured_speedup:.1f}x", "faster with channels removed (milliseconds, batch 1)"),
    ]


def themed(svg: str) -> str:
    """Replace the colours of a picture by the page's, which follow its light or dark scheme."""
    colour = re.compile("|".join(_VARIABLES))
    in_styles = re.compile(r'style="[^"]*"')
    return in_styles.sub(lambda style: colour.sub(lambda c: _VARIABLES[c[0]], style[0]), svg)


def _pictures(record: DemoRecord) -> dict[str, str]:
    return {
        "accuracy": plots.accuracy_against_weights(record.curves, record.sparsity),
        "layers": plots.layer_sparsity(record.layers),
        "histograms": plots.weight_histograms(record.histograms),
        "codings": plots.bytes_by_coding(record.codings),
        "widths": plots.widths(record.widths),
    }
