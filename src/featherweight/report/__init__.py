"""Records into tables, pictures and one self-contained page. Never imports torch."""

from featherweight.report.html import demo_page, write_page
from featherweight.report.records import (
    CodingBytes,
    Curve,
    DemoRecord,
    Histogram,
    InspectRow,
    LayerSparsity,
    PruneRecord,
)
from featherweight.report.tables import demo_rows, demo_table, prune_table, tensor_table

__all__ = [
    "CodingBytes",
    "Curve",
    "DemoRecord",
    "Histogram",
    "InspectRow",
    "LayerSparsity",
    "PruneRecord",
    "demo_page",
    "demo_rows",
    "demo_table",
    "prune_table",
    "tensor_table",
    "write_page",
]
