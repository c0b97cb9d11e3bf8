"""Records as tables, pictures and one self-contained page. Never imports torch.

Tables need rich alone; pictures and the page need matplotlib and jinja2, which ``featherweight[torch]``
brings, and import them when they are first called.
"""

from featherweight.report.comparison import demo_table
from featherweight.report.distill_pages import distill_page, grid_page
from featherweight.report.distilling import (
    ClassAgreement,
    DistillRecord,
    GridCell,
    GridRecord,
    Training,
    distill_table,
)
from featherweight.report.html import demo_page, write_html, write_page
from featherweight.report.lottery import LotteryCurve, LotteryRecord, lottery_table
from featherweight.report.lottery_pages import lottery_page
from featherweight.report.narrowing import StructuredRecord, structured_tables
from featherweight.report.pieces import (
    CodingBytes,
    Curve,
    CutStep,
    Histogram,
    LayerSparsity,
    Milliseconds,
    Taught,
    Width,
    WidthCurve,
)
from featherweight.report.pruning import PruneRecord, prune_table
from featherweight.report.records import DemoRecord
from featherweight.report.sensitivity import (
    SensitivityRecord,
    WeightSensitivityRecord,
    sensitivity_page,
    weight_sensitivity_page,
)
from featherweight.report.structured_pages import structured_page
from featherweight.report.tensors import InspectRow, tensor_table

__all__ = [
    "ClassAgreement",
    "CodingBytes",
    "Curve",
    "CutStep",
    "DemoRecord",
    "DistillRecord",
    "GridCell",
    "GridRecord",
    "Histogram",
    "InspectRow",
    "LayerSparsity",
    "LotteryCurve",
    "LotteryRecord",
    "Milliseconds",
    "PruneRecord",
    "SensitivityRecord",
    "StructuredRecord",
    "Taught",
    "Training",
    "WeightSensitivityRecord",
    "Width",
    "WidthCurve",
    "demo_page",
    "demo_table",
    "distill_page",
    "distill_table",
    "grid_page",
    "lottery_page",
    "lottery_table",
    "prune_table",
    "sensitivity_page",
    "structured_page",
    "structured_tables",
    "tensor_table",
    "weight_sensitivity_page",
    "write_html",
    "write_page",
]
