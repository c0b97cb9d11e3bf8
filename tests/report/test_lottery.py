"""Record, table, picture and page of a lottery experiment."""

import json
from dataclasses import replace
from io import StringIO
from xml.etree import ElementTree

import pytest
from rich.console import Console

from featherweight.errors import SettingError
from featherweight.report import LotteryCurve, LotteryRecord, lottery_page, lottery_table, plots

TICKET = LotteryCurve("ticket", "ticket", (0.8, 0.64), ((0.90, 0.92), (0.91, 0.93)))
RANDOM = LotteryCurve("random_init", "random re-initialisation", (0.8,), ((0.88, 0.89),))
RECORD = LotteryRecord(
    "net<1>", "data", "test", 1000, (0.9, 0.91), (TICKET, RANDOM), ("They part.",), 0.8,
    {"rewound to": "the initialisation"}, (0, 1), 8, 12.5,
)  # fmt: skip


def said(svg):
    return "".join(ElementTree.fromstring(svg).itertext())


def test_the_table_has_a_row_a_level_and_mean_and_band():
    text = StringIO()
    Console(file=text, width=140).print(lottery_table(RECORD))
    for words in ("net<1> on data", "92.00 (91.00-93.00)", "64.0%", "90.50 (90.00-91.00)", "1,000 examples"):
        assert words in text.getvalue()


def test_the_picture_names_branches_and_where_they_part():
    words = said(plots.lottery(RECORD.curves, RECORD.dense, RECORD.parts_at))
    for part in (
        "ticket",
        "92.0% at 64% of weights",
        "the dense network, 90.50%",
        "part at 80.0%",
        "test accuracy",
    ):
        assert part in words
    assert "part at" not in said(plots.lottery(RECORD.curves, RECORD.dense))


@pytest.mark.parametrize(
    "curves",
    [
        [],
        [LotteryCurve("a", "a", (), ())],
        [LotteryCurve("a", "<b>&$x^$</b> \x00", (0.5,), ((0.1,),))],
        [replace(TICKET, remaining=(0.8, 1e-6))],
        [replace(TICKET, branch=str(n)) for n in range(9)],
    ],
)
@pytest.mark.parametrize("parts_at", [None, 0.3])
def test_pictures_of_awkward_records_render(curves, parts_at):
    assert said(plots.lottery(curves, (0.9,), parts_at)).strip()


def test_the_page_is_complete_and_escaped():
    page = lottery_page(RECORD)
    for words in (
        "net&lt;1&gt;",
        "They part.",
        "<svg",
        "the initialisation",
        "lowest to the highest of 2 seeds",
        "8, 12 s",
    ):
        assert words in page
    assert "One seed: there is no\nband." in lottery_page(replace(RECORD, seeds=(0,)))


def test_the_record_is_json():
    assert json.loads(RECORD.to_json())["curves"][0]["values"] == [[0.9, 0.92], [0.91, 0.93]]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: replace(TICKET, remaining=(0.8,)),
        lambda: replace(TICKET, remaining=(80, 64)),
        lambda: replace(TICKET, values=((0.9,), ())),
        lambda: replace(RECORD, dense=()),
        lambda: replace(RECORD, dense=(90.0,)),
        lambda: replace(RECORD, parts_at=41.0),
        lambda: replace(RECORD, trainings=0),
    ],
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(SettingError):
        wrong()
