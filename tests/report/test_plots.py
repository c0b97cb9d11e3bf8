"""Every picture is well-formed SVG, from awkward records too."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from featherweight.report import (
    CodingBytes,
    Curve,
    CutStep,
    Histogram,
    LayerSparsity,
    WidthCurve,
    plots,
)
from featherweight.report.plots._canvas import spread

UGLY = "<b>&$x^$</b> \x00\n\u4e2d"
TINY = [Histogram(f"h{i}", (0.0, 1.0), (9,), (1,)) for i in range(14)]
MANY = [LayerSparsity(f"blocks.{i}." + "long." * 20 + "weight", 1_000, i) for i in range(60)]


def curve(kept, accuracy, label="c"):
    return Curve(label, kept, accuracy, "validation", 10, "note")


PICTURES = {
    "no curve": (plots.accuracy_against_weights, []),
    "one point": (plots.accuracy_against_weights, [curve((1.0,), (0.9,))]),
    "empty curve": (plots.accuracy_against_weights, [curve((), ()), curve((0.5,), (0.5,))]),
    "none kept": (plots.accuracy_against_weights, [curve((1.0, 0.0), (0.9, 0.1), UGLY)]),
    "nothing but none kept": (plots.accuracy_against_weights, [curve((0.0,), (0.0,))]),
    "ten curves": (plots.accuracy_against_weights, [curve((1.0, 0.1), (0.9, 0.9)) for _ in range(10)]),
    "no layer": (plots.layer_sparsity, []),
    "nothing kept": (plots.layer_sparsity, [LayerSparsity(UGLY, 10, 0)]),
    "many layers": (plots.layer_sparsity, MANY),
    "no histogram": (plots.weight_histograms, []),
    "empty bins": (plots.weight_histograms, [Histogram(UGLY, (-1e-9, 1e-9), (0,), (0,))]),
    "many histograms": (plots.weight_histograms, TINY),
    "no coding": (plots.bytes_by_coding, []),
    "no bytes": (plots.bytes_by_coding, [CodingBytes(UGLY, 0), CodingBytes("b", 10**12)]),
}  # fmt: skip


def narrow(number, drop):
    return WidthCurve(f"layer{number}.weight", 64, (0.5, 0.25), (0.9 - drop / 2, 0.9 - drop))


MORE = {
    "no group": lambda: plots.sensitivity([], 0.9),
    "one group, nothing lost": lambda: plots.sensitivity([WidthCurve(UGLY, 1, (1.0,), (0.9,))], 0.9),
    "a metric below 0": lambda: plots.sensitivity([WidthCurve("g", 4, (0.5,), (-3.0,))], -1.0, "minus loss"),
    "no layer": lambda: plots.heat_map([], (0.5,), 0.9),
    "one layer, nothing lost": lambda: plots.heat_map([WidthCurve(UGLY, 1, (0.5,), (0.9,))], (0.5,), 0.9),
    "a metric": lambda: plots.heat_map([WidthCurve("g", 4, (0.5,), (-3.0,))], (0.5,), -1.0, "minus loss"),
    "no step": lambda: plots.steps([], "its MACs"),
    "one step, nothing lost": lambda: plots.steps([CutStep(0.5, 1, 1, 0.9, 0.9)], "its MACs"),
}


@pytest.mark.parametrize("name", MORE)
def test_pictures_of_structured_pruning_render(name):
    root = ElementTree.fromstring(MORE[name]())
    assert "".join(root.itertext()).strip()


def test_the_groups_that_fall_most_have_a_name():
    curves = [narrow(number, number / 100) for number in range(30)]
    said = "".join(ElementTree.fromstring(plots.sensitivity(curves, 0.9)).itertext())
    assert [f"layer{n}.weight" in said for n in (23, 24, 29)] == [False, True, True]
    assert "the other 24 groups" in said


def test_the_heat_map_says_every_score():
    curves = [WidthCurve(f"layer{n}.weight", 9, (0.5, 0.1), (0.9 - n / 100, 0.5)) for n in range(3)]
    said = "".join(ElementTree.fromstring(plots.heat_map(curves, (0.5, 0.9), 0.91)).itertext())
    for words in ("layer0.weight", "layer2.weight", "90.0%", "89.0%", "88.0%", "whole network (91.0%)"):
        assert words in said
    said = "".join(
        ElementTree.fromstring(plots.sensitivity(curves, 0.9, what=("weights", "layer"))).itertext()
    )
    assert "weights of the layer that are kept (%), all other layers whole" in said


def test_steps_say_both_accuracies():
    steps = [CutStep(0.7, 9, 9, 0.811, 0.921), CutStep(0.5, 5, 5, 0.7, 0.9)]
    said = "".join(ElementTree.fromstring(plots.steps(steps, "its MACs", 0.933)).itertext())
    for words in ("81.1%", "92.1%", "93.30% before the first cut", "50.0% of its MACs"):
        assert words in said


@pytest.mark.parametrize("name", PICTURES)
def test_renders(name):
    draw, pieces = PICTURES[name]
    root = ElementTree.fromstring(draw(pieces))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "".join(root.itertext()).strip()


def test_what_the_pictures_say():
    said = "".join(ElementTree.fromstring(plots.layer_sparsity([LayerSparsity("fc", 200, 30)])).itertext())
    assert "15.0%: 30 of 200" in said
    said = "".join(
        ElementTree.fromstring(plots.accuracy_against_weights([curve((1, 0.1), (1, 0.9))])).itertext()
    )
    assert "90.0% at 10% of weights" in said
    sizes = [CodingBytes("dense", 40_000), CodingBytes("gap", 4_000)]
    assert "4.0 kB, 10.0x fewer bytes" in plots.bytes_by_coding(sizes)


def test_labels_are_apart_and_in_order():
    placed = spread([0.5, 0.1, 0.1, 0.95], 0.17)
    assert placed[1] < placed[2] < placed[0] < placed[3] <= 0.97
    assert min(b - a for a, b in zip(sorted(placed), sorted(placed)[1:], strict=False)) > 0.16
