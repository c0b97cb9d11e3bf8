"""The check in a fresh process: it sees the same, and it sees any difference."""

from __future__ import annotations

import pytest
import torch

import featherweight as fw
from featherweight.cli import reload
from featherweight.cli.demo.fresh import differs_in_fresh_process, write_predictions

ABOUT = {"network": "small_cnn", "in_channels": "1", "classes": "10"}


@pytest.fixture
def files(folder):
    """A pruned network in a compact file, and its predictions."""
    torch.manual_seed(0)
    model = fw.zoo.build("small_cnn").eval()
    fw.prune(model, 0.9)
    fw.save(model, folder / "a.safetensors", metadata=ABOUT)
    write_predictions(model, torch.rand(300, 1, 8, 8), folder / "p.safetensors")
    return model, folder / "a.safetensors", folder / "p.safetensors"


def test_the_same(files):
    assert differs_in_fresh_process(*files[1:]) is None


def test_a_smallest_change_of_one_weight_is_seen(files):
    model, compact, predictions = files
    with torch.no_grad():
        model.fc.bias[3] = torch.nextafter(model.fc.bias[3], torch.tensor(1e9))
    fw.save(model, compact, metadata=ABOUT)
    assert "predictions differ" in (reload.difference(str(compact), str(predictions)) or "")


def test_rounded_values_are_seen(files, capsys):
    model, compact, predictions = files
    fw.save(model, compact, values="fp16", metadata=ABOUT)
    assert reload.main([str(compact), str(predictions)]) == 1
    assert "of 300 predictions differ" in capsys.readouterr().out


def test_a_damaged_file_is_seen(files):
    _, compact, predictions = files
    whole = bytearray(compact.read_bytes())
    whole[len(whole) // 2] ^= 1
    compact.write_bytes(whole)
    assert "a.safetensors" in (differs_in_fresh_process(compact, predictions) or "")


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({}, "does not say which network"),
        (ABOUT | {"classes": "9"}, "does not fit"),
        (ABOUT | {"network": "x"}, "'x'"),
    ],
)
def test_another_network_is_seen(files, capsys, about, says):
    model, compact, predictions = files
    fw.save(model, compact, metadata=about)
    assert reload.main([str(compact), str(predictions)]) == 2
    assert says in capsys.readouterr().err
