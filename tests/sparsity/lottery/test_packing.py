"""Nested states survive the way through flat tensors and a text."""

import json

import pytest
import torch

from featherweight.errors import ArtifactError, ModelError
from featherweight.sparsity.lottery.packing import pack, unpack

STATE = {
    "optimizer": {
        "state": {0: {"step": torch.tensor(3.0)}, 7: {}},
        "groups": [{"params": [0, 7], "betas": (0.9, 0.1)}],
    },
    "model": {"a.weight": torch.arange(6).view(2, 3), "empty": torch.zeros(0)},
    "words": ["x", None, True, 1e-300, float("inf")],
}


def test_everything_comes_back_as_it_was():
    tensors, text = pack(STATE)
    back = unpack(tensors, text)
    assert repr(back) == repr(STATE)
    assert list(back["optimizer"]["state"]) == [0, 7]
    assert isinstance(back["optimizer"]["groups"][0]["betas"], tuple)
    assert set(tensors) == {"optimizer/state/0/step", "model/a.weight", "model/empty"}
    assert "tensor(" not in text


def test_what_needs_pickle_is_refused():
    with pytest.raises(ModelError, match="State 'a/0' is a set, which cannot be saved without pickle"):
        pack({"a": [{1, 2}]})


@pytest.mark.parametrize("text", ["", "{", '{"tensor": "other"}', '{"unknown": []}', '{"a": 1, "b": 2}'])
def test_a_text_that_does_not_fit_is_refused(text):
    with pytest.raises(ArtifactError, match="Not the text of a packed state"):
        unpack({"a": torch.zeros(1)}, text)


def test_the_text_is_json():
    assert json.loads(pack({"n": 1})[1]) == {"dict": [["n", 1]]}
