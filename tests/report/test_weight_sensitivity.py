"""The page about what the zeros of each layer cost."""

import pytest

from featherweight.errors import SettingError
from featherweight.report import WeightSensitivityRecord, WidthCurve, weight_sensitivity_page

CURVES = (WidthCurve("a<b>", 16, (0.5, 0.1), (0.8, 0.3)), WidthCurve("c", 4, (0.5, 0.1), (0.9, 0.85)))
FIELDS = {
    "model": "mine:net", "metric": "accuracy", "whole": 0.93, "whole_loss": 0.25, "examples": 500,
    "criterion": "magnitude", "pattern": "2:4", "levels": (0.5, 0.9), "curves": CURVES,
    "losses": ((0.4, 1.2345), (0.26, 0.3)), "skipped": ("d",),
}  # fmt: skip


def test_the_page():
    page = weight_sensitivity_page(WeightSensitivityRecord(**FIELDS))
    assert page.count("<svg") == 2
    for words in ("a&lt;b&gt;", "loss at 90%", "1.234", "93.00%", "500 examples", "alone on request: d"):
        assert words in page
    assert "a<b>" not in page


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"losses": ((0.4, 1.0),)}, "curves and losses"),
        ({"losses": ((0.4,), (0.2, 0.3))}, "levels and losses of 'a<b>'"),
        ({"levels": (0.5,)}, "levels and points of 'a<b>'"),
        ({"examples": 0}, "examples"),
    ],
)
def test_records_that_do_not_fit(changes, says):
    with pytest.raises(SettingError, match=says):
        WeightSensitivityRecord(**FIELDS | changes)
