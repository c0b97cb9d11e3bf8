"""Records as tables, pictures and one self-contained page. Never imports torch.

Tables need rich alone; pictures and the page need matplotlib and jinja2, which ``featherweight[torch]``
brings, and import them when they are first called.
"""

from featherweight.report.comparison import demo_table
from featherweight.report.html import demo_page, write_page
from featherweight.report.pieces import CodingBytes, Curve, Histogram, LayerSparsity, Milliseconds, Width
from featherweight.report.pruning import PruneRecord, prune_table
from featherweight.report.records import DemoRecord
from featherweight.report.tensors import InspectRow, tensor_table

__all__ = [
    "CodingBytes",
    "Curve",
    "DemoRecord",
    "Histogram",
    "InspectRow",
    "LayerSparsity",
    "Milliseconds",
    "PruneRecord",
    "Width",
    "demo_page",
    "demo_table",
    "prune_table",
    "tensor_table",
    "write_page",
]
