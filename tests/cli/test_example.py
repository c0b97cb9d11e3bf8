"""Inputs to trace a network on: as asked, of the zoo, or of the data."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featherweight.cli.batches import Batches
from featherweight.cli.example import example_of
from featherweight.errors import SettingError

MODEL = nn.Linear(8, 3)
INPUTS, LABELS = torch.arange(32.0).view(4, 8), torch.zeros(4).long()


def batches(batch):
    return Batches([batch], [batch], None)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ((INPUTS, LABELS), INPUTS[:1]),
        (([INPUTS, INPUTS + 1], LABELS), (INPUTS[:1], INPUTS[:1] + 1)),
        (({"x": INPUTS}, LABELS), {"x": INPUTS[:1]}),
        ({"x": INPUTS, "labels": LABELS}, {"x": INPUTS[:1]}),
    ],
)
def test_of_the_data(batch, expected):
    torch.testing.assert_close(example_of("a:b", MODEL, None, batches(batch), ""), expected)


def test_what_is_asked_for_goes_first():
    found = example_of("a:b", MODEL, "2,8", batches((INPUTS, LABELS)), "")
    assert found.shape == (2, 8)
    assert torch.equal(found, example_of("a:b", MODEL, "2,8", None, ""))


def test_of_the_zoo_and_of_nothing():
    assert example_of("resnet20", MODEL, None, None, "").shape == (1, 1, 28, 28)
    with pytest.raises(SettingError, match="To run it, give the sizes of an input"):
        example_of("a:b", MODEL, None, None, "To run it")
