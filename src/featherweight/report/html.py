"""One self-contained page: pictures and style inside, nothing loaded from elsewhere."""

from __future__ import annotations

import os

from featherweight.artifact.atomic import replacing
from featherweight.report import plots
from featherweight.report.records import DemoRecord
from featherweight.report.tables import demo_rows


def demo_page(record: DemoRecord) -> str:
    """Return the demo's report as an HTML page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Pictures are SVG of our own making and go in as they are; every other value is escaped.
    environment = Environment(
        loader=PackageLoader("featherweight.report", "templates"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("demo.html").render(
        record=record,
        rows=demo_rows(record),
        accuracy=plots.accuracy_against_weights(record.curves, record.sparsity),
        sparsity=plots.layer_sparsity(record.layers),
        histograms=plots.weight_histograms(record.histograms),
        bytes=plots.bytes_by_coding(record.codings),
    )


def write_page(record: DemoRecord, path: str | os.PathLike[str]) -> None:
    """Write the demo's report to ``path``, whole or not at all."""
    page = demo_page(record)
    with replacing(path, "w") as file:
        file.write(page)
