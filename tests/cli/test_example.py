"""Inputs to trace a network on: as asked, of the zoo, or of the data."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featherweight.cli.batches import Batches
from featherweight.cli.example import example_of, shapes_of
from featherweight.errors import SettingError

MODEL = nn.Linear(8, 3)
INPUTS, LABELS = torch.arange(32.0).view(4, 8), torch.zeros(4).long()


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(2, 4), nn.Linear(4, 3)
        self.positions = nn.Embedding(4, 4)

    def forward(self, ids, mask, scale=None):
        if scale is not None and scale.dtype == torch.float32:
            self.positions(torch.arange(len(scale)))
        found = self.head(self.embedding(ids)) * mask[..., None]
        return found if scale is None else found * scale


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
    torch.testing.assert_close(example_of("a:b", MODEL, (), batches(batch), ""), expected)


def test_what_is_asked_for_goes_first():
    found = example_of("a:b", MODEL, ("2,8",), batches((INPUTS, LABELS)), "")
    assert found.shape == (2, 8)
    assert torch.equal(found, example_of("a:b", MODEL, ("2,8:float32",), None, ""))


def test_of_the_zoo_and_of_nothing():
    assert example_of("resnet20", MODEL, (), None, "").shape == (1, 1, 28, 28)
    with pytest.raises(SettingError, match="To run it, give the sizes of an input"):
        example_of("a:b", MODEL, (), None, "To run it")


def test_several_by_position_and_by_name(capsys):
    found = example_of("a:b", Tokens(), ("1,5:int64", "1,5:bool"), None, "")
    assert isinstance(found, tuple)
    assert [value.dtype for value in found] == [torch.int64, torch.bool]
    assert all(bool((value == 1).all()) for value in found), "in any vocabulary, and nothing is masked"
    assert "filled with ones" in capsys.readouterr().err
    given = ("scale=3:float64", "mask=2,5:bool", "ids=2,5:int32")
    found = example_of("a:b", Tokens().double(), given, None, "")
    assert list(found) == ["scale", "mask", "ids"]
    assert found["scale"].dtype == torch.float64
    assert found["ids"].dtype == torch.int32
    assert shapes_of(found) == ((3,), (2, 5), (2, 5))
    assert len(set(found["scale"].tolist())) == 3, "floats are noise"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("1,8:int65",), "types are float32, float64"),
        (("1,8:",), "types are float32"),
        (("a b=1,8",), "given once, by name"),
        (("ids=1,x:int64",), "Got 'ids=1,x:int64'"),
        (("ids=1,5:int64,mask=1,5:bool",), "for each of several inputs it is given once"),
        (("ids=1,5:int64", "1,5:bool"), "all of them with a name or none"),
        (("ids=1,5:int64", "ids=1,5:bool"), "all of them with a name or none"),
        (("1,5", "1,5:bool"), "fails in module 'embedding'.* Token ids are whole numbers"),
        (("1,5:int64", "1,5:bool", "5"), "fails in module 'positions'.* It has 4 entries"),
        (("1,5:int64",), "missing 1 required positional argument: 'mask'. .* once for each"),
        (("ids=1,5:int64", "mask=1,4:bool"), r"ids=1,5:int64 mask=1,4:bool does not fit: .*its own forward"),
        (("ids=1,5:int64", "msk=1,5:bool"), "unexpected keyword argument 'msk'"),
    ],
)
def test_what_does_not_fit(given, says):
    with pytest.raises(SettingError, match=says) as refused:
        example_of("a:b", Tokens(), given, None, "")
    assert ".." not in str(refused.value)
