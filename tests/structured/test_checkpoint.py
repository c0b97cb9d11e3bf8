"""A cut network's file is loaded into a fresh one of its class, also in a fresh process."""

import json
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from featherweight import artifact
from featherweight.errors import ModelError
from featherweight.sparsity import prune
from featherweight.structured.checkpoint import load, save
from featherweight.structured.prune import prune_structured
from featherweight.structured.record import KEY
from featherweight.zoo import build

INPUTS = torch.randn(2, 1, 28, 28)


def cnn():
    torch.manual_seed(0)
    return build("small_cnn").eval()


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_into_a_fresh_network(tmp_path):
    small, _ = prune_structured(cnn(), INPUTS, macs=0.4)
    prune(small, 0.5)
    save(small, tmp_path / "small.safetensors", metadata={"mine": "kept"})
    loaded = load(tmp_path / "small.safetensors", into=build("small_cnn").eval())
    assert same(state(loaded), state(small))
    assert torch.equal(loaded(INPUTS), small(INPUTS))
    assert loaded.convs[1].out_channels == small.convs[1].out_channels
    assert artifact.inspect(tmp_path / "small.safetensors").metadata["mine"] == "kept"


def test_in_a_fresh_process(tmp_path):
    small, _ = prune_structured(cnn(), INPUTS, keep=0.5)
    save(small, tmp_path / "small.safetensors")
    torch.save((INPUTS, small(INPUTS)), tmp_path / "expected.pt")
    script = f"""
        import torch
        from featherweight.structured.checkpoint import load
        from featherweight.zoo import build
        inputs, expected = torch.load({str(tmp_path / "expected.pt")!r})
        model = load({str(tmp_path / "small.safetensors")!r}, into=build("small_cnn").eval())
        torch.testing.assert_close(model(inputs), expected)
        print(sum(p.numel() for p in model.parameters()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == sum(p.numel() for p in small.parameters())


def test_two_surgeries_one_after_the_other(tmp_path):
    small, _ = prune_structured(cnn(), INPUTS, keep=0.7)
    small, _ = prune_structured(small, INPUTS, keep=0.7)
    save(small, tmp_path / "small.safetensors")
    loaded = load(tmp_path / "small.safetensors", into=cnn())
    assert torch.equal(loaded(INPUTS), small(INPUTS))
    save(loaded, tmp_path / "again.safetensors")  # what was loaded can be saved
    again = load(tmp_path / "again.safetensors", into=cnn())
    assert same(state(again), state(small))


def test_a_rewritten_graph(written, tmp_path):
    torch.manual_seed(0)
    inputs = torch.randn(4, 6)
    small, surgery = prune_structured(written(), inputs, keep=0.5)
    assert surgery.attributes is None
    save(small, tmp_path / "small.safetensors")
    fresh = written()
    loaded = load(tmp_path / "small.safetensors", into=fresh)
    assert loaded is not fresh
    assert torch.equal(loaded(inputs), small(inputs))
    assert fresh.a.weight.shape == (12, 6)


def test_into_one_that_is_cut_already(tmp_path):
    small, _ = prune_structured(cnn(), INPUTS, keep=0.5)
    save(small, tmp_path / "small.safetensors")
    before = state(small)
    with torch.no_grad():
        small.fc.weight.zero_()
    assert load(tmp_path / "small.safetensors", into=small) is small
    assert same(state(small), before)


def test_without_a_network_the_state_dict(tmp_path):
    small, _ = prune_structured(cnn(), INPUTS, keep=0.5)
    save(small, tmp_path / "small.safetensors")
    assert same(load(tmp_path / "small.safetensors"), state(small))


def test_a_network_that_was_not_cut(tmp_path):
    model = cnn()
    save(model, tmp_path / "whole.safetensors")
    assert KEY not in artifact.inspect(tmp_path / "whole.safetensors").metadata
    assert same(state(load(tmp_path / "whole.safetensors", into=build("small_cnn"))), state(model))


class Changed(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs, self.norms = build("small_cnn").convs[:3], build("small_cnn").norms
        self.fc = nn.Linear(256, 10)


def test_a_class_that_has_changed_since(tmp_path):
    small, _ = prune_structured(cnn(), INPUTS, keep=0.5)
    save(small, tmp_path / "small.safetensors")
    model = Changed()
    before = state(model)
    with pytest.raises(
        ModelError, match=r"Changed is not what the surgery was done on: convs\.3\.weight: not"
    ):
        load(tmp_path / "small.safetensors", into=model)
    assert same(state(model), before)


def test_a_file_that_does_not_fit_after_the_surgery_changes_nothing(tmp_path):
    small, _ = prune_structured(cnn(), INPUTS, keep=0.5)
    del small.fc.bias
    small.fc.bias = None
    save(small, tmp_path / "small.safetensors")
    model = cnn()
    before = state(model)
    with pytest.raises(ModelError, match=r"fc\.bias"):
        load(tmp_path / "small.safetensors", into=model)
    assert same(state(model), before)
    assert model.convs[0].out_channels == 32
    assert model(INPUTS).shape == (2, 10)


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '[{"axes": ["9:ff"], "kept": {}, "attributes": null, "example": [[], {}]}]']
)
def test_a_damaged_record(tmp_path, text):
    small, _ = prune_structured(cnn(), INPUTS, keep=0.5)
    save(small.state_dict(), tmp_path / "small.safetensors", metadata={KEY: text})
    with pytest.raises(ModelError, match="record of a surgery is damaged"):
        load(tmp_path / "small.safetensors", into=cnn())


def test_the_record_is_small(tmp_path):
    small, surgery = prune_structured(cnn(), INPUTS, keep=0.5)
    save(small, tmp_path / "small.safetensors")
    text = artifact.inspect(tmp_path / "small.safetensors").metadata[KEY]
    assert len(text) < 2500
    assert len(json.loads(text)[0]["axes"]) == len(surgery.widths)
