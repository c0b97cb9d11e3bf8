"""Networks without some of their blocks are saved, and loaded into fresh ones of their class."""

import json
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

import featherweight as fw
from featherweight import artifact
from featherweight.errors import ModelError
from featherweight.structured.prune import prune_structured
from featherweight.structured.record import KEY
from featherweight.zoo import build

IMAGES = torch.randn(2, 1, 28, 28)

SETTINGS = [
    ("pre-norm", {"blocks": 2, "block_unit": "branch", "macs": 0.5}),
    ("post-norm, tuples", {"blocks": 1, "macs": 0.5}),
    ("written out", {"blocks": 1, "macs": 0.5}),
    ("torch.nn", {"blocks": 1, "block_unit": "branch", "macs": 0.6}),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_in_a_fresh_process(networks, tmp_path, name, settings):
    model, inputs = networks.make(name)
    if name == "torch.nn":
        settings = settings | networks.ATTENTION
    small, surgery = prune_structured(model, inputs, **settings)
    assert surgery.removed_blocks
    fw.save(small, tmp_path / "small.safetensors")
    with torch.no_grad():
        torch.save((inputs, small(inputs)), tmp_path / "expected.pt")
    script = f"""
        import sys
        sys.path.insert(0, {networks.__file__.rpartition("/")[0]!r})
        import networks, torch
        import featherweight as fw
        inputs, expected = torch.load({str(tmp_path / "expected.pt")!r})
        fresh = networks.NETWORKS[{name!r}][0]().eval()
        model = fw.load({str(tmp_path / "small.safetensors")!r}, into=fresh)
        torch.testing.assert_close(model(inputs), expected)
        print(sum(p.numel() for p in model.parameters()), model is fresh)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    left = sum(p.numel() for p in small.parameters())
    assert done.stdout.split() == [str(left), str(small is model)]


def fresh():
    torch.manual_seed(0)
    return build("vit_tiny").eval()


def saved(path, **settings):
    small, surgery = prune_structured(fresh(), IMAGES, **settings)
    fw.save(small, path)
    return small, surgery


def test_what_was_loaded_is_saved_and_cut_again(tmp_path):
    small, _ = saved(tmp_path / "small.safetensors", blocks=1, macs=0.6)
    loaded = fw.load(tmp_path / "small.safetensors", into=fresh())
    assert torch.equal(loaded(IMAGES), small(IMAGES))
    loaded, surgery = prune_structured(loaded, IMAGES, blocks=1)
    assert len(surgery.removed_blocks) == 1
    fw.save(loaded, tmp_path / "again.safetensors")
    again = fw.load(tmp_path / "again.safetensors", into=fresh())
    assert torch.equal(again(IMAGES), loaded(IMAGES))
    assert fw.load(tmp_path / "again.safetensors", into=again) is again
    assert torch.equal(again(IMAGES), loaded(IMAGES))


def test_the_record_is_plain(tmp_path):
    _, surgery = saved(tmp_path / "small.safetensors", blocks=1)
    (record,) = json.loads(artifact.inspect(tmp_path / "small.safetensors").metadata[KEY])
    assert [block["name"] for block in record["blocks"]] == list(surgery.removed_blocks)
    assert record["places"][surgery.removed_blocks[0]]["argument"] == 0


def test_a_record_of_before_there_were_blocks_still_loads(tmp_path):
    small, _ = prune_structured(fresh(), IMAGES, keep=0.5)
    fw.save(small, tmp_path / "new.safetensors")
    records = json.loads(artifact.inspect(tmp_path / "new.safetensors").metadata[KEY])
    assert all(record.keys() == {"axes", "kept", "attributes", "example"} for record in records)
    loaded = fw.load(tmp_path / "new.safetensors", into=fresh())
    assert torch.equal(loaded(IMAGES), small(IMAGES))


class Changed(nn.Module):
    """Has the layers of a vision transformer under the same names, one of them with another part."""

    def __init__(self, without):
        super().__init__()
        model = fresh()
        self.__dict__["forward"] = model.forward
        for name, child in model.named_children():
            setattr(self, name, child)
        del self.blocks[int(without.rpartition(".")[2])].norm1
        self.cls_token, self.pos_embed = model.cls_token, model.pos_embed


def test_a_class_that_has_changed_since(tmp_path):
    _, surgery = saved(tmp_path / "small.safetensors", blocks=1)
    (name,) = surgery.removed_blocks
    model = Changed(name)
    before = model.state_dict()
    message = rf"Changed is not what the surgery was done on: block {name} was removed, which held .*norm1"
    with pytest.raises(ModelError, match=message):
        fw.load(tmp_path / "small.safetensors", into=model)
    assert model.state_dict().keys() == before.keys()


def test_a_rewritten_class_that_has_changed_since(networks, tmp_path):
    model, inputs = networks.make("torch.nn")
    small, _ = prune_structured(model, inputs, blocks=1, **networks.ATTENTION)
    fw.save(small, tmp_path / "small.safetensors")
    other, _ = networks.make("pre-norm")
    with pytest.raises(ModelError, match="Encoder is not what the surgery was done on: block encoder"):
        fw.load(tmp_path / "small.safetensors", into=other)


def test_a_file_that_does_not_fit_puts_the_blocks_back(tmp_path):
    small, _ = prune_structured(fresh(), IMAGES, blocks=1)
    small.head.bias = None
    fw.save(small, tmp_path / "small.safetensors")
    model = fresh()
    before = model(IMAGES)
    with pytest.raises(ModelError, match=r"head\.bias"):
        fw.load(tmp_path / "small.safetensors", into=model)
    assert torch.equal(model(IMAGES), before)
    assert model.state_dict().keys() == fresh().state_dict().keys()


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": [{"name": "x"}]},
        {"places": {"blocks.0": {}}},
        {"places": {"blocks.0": {"argument": -1, "length": None, "zeros": False, "tensors": []}}},
        {"places": {"blocks.0": {"argument": 0, "length": 10**9, "zeros": False, "tensors": []}}},
        {"places": []},
    ],
)
def test_a_damaged_record(tmp_path, change):
    small, _ = saved(tmp_path / "small.safetensors", blocks=1)
    (record,) = json.loads(artifact.inspect(tmp_path / "small.safetensors").metadata[KEY])
    text = json.dumps([record | change])
    fw.save(small.state_dict(), tmp_path / "bad.safetensors", metadata={KEY: text})
    with pytest.raises(ModelError, match="record of a surgery is damaged"):
        fw.load(tmp_path / "bad.safetensors", into=fresh())
