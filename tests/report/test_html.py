"""The page: complete by itself, escaped, whole or not at all, and made without torch."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from featherweight.errors import ArtifactError
from featherweight.report import Curve, LayerSparsity, demo_page, write_page

EVIL = '<script>alert("1")</script>'


def test_nothing_is_fetched(made):
    page = demo_page(made())
    assert page.count("<svg") == 5
    rest = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not re.search(r"https?://|@import|url\((?!#)|\ssrc=|<link|<script", rest)


def test_names_are_escaped(made):
    curves = (Curve(EVIL, (1.0,), (0.9,), EVIL, 3, EVIL),)
    page = demo_page(
        made(
            network=EVIL,
            data=EVIL,
            compact_file=EVIL,
            machine={EVIL: EVIL},
            seconds={EVIL: 1.0},
            curves=curves,
            layers=(LayerSparsity(EVIL, 4, 1),),
        )
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 8


def test_says_what_was_run(made):
    page = demo_page(made())
    for words in (
        "4 epochs, seed 7",
        "2.13.0",
        "a processor",
        "10,000 test images",
        "5,000 validation images",
    ):
        assert words in page
    assert "a point an epoch; accuracy on 5,000 validation images" in page
    assert "-0.31" in page
    assert "#0072b2" not in page.split("</style>", 1)[1]  # the pictures take the colours of the scheme


def test_nothing_left_and_a_failed_check(made):
    page = demo_page(made(sparsity=1.0, nonzero=0, identical_predictions=False))
    assert "∞" in page
    assert "CHECK FAILED" in page


def test_write_page(made, tmp_path):
    write_page(made(), tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == demo_page(made())
    with pytest.raises(ArtifactError):
        write_page(made(), tmp_path / "none" / "a.html")


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (("torch", "matplotlib", "jinja2"), "import featherweight.report"),
        (("torch",), "from featherweight.report import plots; plots.layer_sparsity([])"),
    ],
)
def test_without_torch(refused, code):
    block = f"import sys\nfor name in {refused!r}: sys.modules[name] = None\n"
    ran = subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
