"""Masks of a network: apply, check, save, load, recover; nothing half-changed."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.core.prunable import LeftAlone
from featherweight.errors import MaskError


def two_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


def half(model):
    return Masks({"0.weight": Mask(torch.arange(20).view(4, 5) % 2 == 0)}, [LeftAlone("0.bias", "bias")])


def test_apply_zeroes_in_place_and_check_sees_it():
    model = two_layers()
    weight, masks = model[0].weight, half(model)
    with pytest.raises(MaskError, match=r"0\.weight: 10 of 10"):
        masks.check(model)
    masks.apply(model)
    masks.check(model)
    assert model[0].weight is weight
    assert int((weight == 0).sum()) == 10


def test_zeroes_are_positive_and_nan_does_not_survive():
    model = two_layers()
    with torch.no_grad():
        model[0].weight[0, 1] = torch.nan
        model[0].weight[0, 3] = -1
    half(model).apply(model)
    assert not torch.signbit(model[0].weight[0, 3])
    assert model[0].weight[0, 1] == 0


def test_another_model_is_refused_unchanged():
    masks = Masks({"0.weight": half(None)["0.weight"], "2.weight": Mask(torch.zeros(9, 9, dtype=torch.bool))})
    model = two_layers()
    before = model[0].weight.detach().clone()
    with pytest.raises(MaskError, match=r"2\.weight.*\(9, 9\).*\(3, 4\)"):
        masks.apply(model)
    assert torch.equal(model[0].weight, before)
    with pytest.raises(MaskError, match="no parameter 'x'"):
        Masks({"x": Mask(torch.ones(2, dtype=torch.bool))}).apply(model)


def test_save_and_load(tmp_path):
    masks = half(None)
    masks.save(tmp_path / "masks.safetensors")
    loaded = Masks.load(tmp_path / "masks.safetensors")
    assert list(loaded) == list(masks)
    assert torch.equal(loaded["0.weight"].keep, masks["0.weight"].keep)
    assert loaded.left_alone == masks.left_alone


@pytest.mark.parametrize("shape", [(), (1,), (3, 3), (2, 4), (0, 5)])
def test_any_shape_survives_packing(tmp_path, shape):
    keep = torch.rand(shape) > 0.5
    Masks({"w": Mask(keep)}).save(tmp_path / "m.safetensors")
    assert torch.equal(Masks.load(tmp_path / "m.safetensors")["w"].keep, keep)


def test_a_file_of_something_else_is_refused(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(MaskError, match="holds no masks"):
        Masks.load(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nonsense")
    with pytest.raises(MaskError, match=r"broken\.safetensors"):
        Masks.load(tmp_path / "broken.safetensors")


def test_a_file_whose_shapes_lie_is_refused(tmp_path):
    meta = {"format": "featherweight.masks.1", "shapes": json.dumps({"w": [1000]}), "left_alone": "[]"}
    save_file({"w": torch.zeros(2, dtype=torch.uint8)}, tmp_path / "lie.safetensors", meta)
    with pytest.raises(MaskError, match="takes 125 bytes"):
        Masks.load(tmp_path / "lie.safetensors")


@pytest.mark.parametrize("shapes", ['{"w": [-8, -1]}', "[" * 100_000])
def test_a_file_whose_shapes_are_none_is_refused(tmp_path, shapes):
    meta = {"format": "featherweight.masks.1", "shapes": shapes, "left_alone": "[]"}
    save_file({"w": torch.zeros(1, dtype=torch.uint8)}, tmp_path / "lie.safetensors", meta)
    with pytest.raises(MaskError, match="not a valid file of masks"):
        Masks.load(tmp_path / "lie.safetensors")


def test_recovered_from_zeros():
    model = two_layers()
    half(model).apply(model)
    found = Masks.from_zeros(model)
    assert torch.equal(found["0.weight"].keep, half(model)["0.weight"].keep)
    assert found["2.weight"].sparsity == 0
    assert {item.name for item in found.left_alone} == {"0.bias", "2.bias"}


def test_applies_through_wrappers():
    model = two_layers()
    half(model).apply(nn.DataParallel(torch.compile(model)))
    half(model).check(model)


def test_prints_what_was_left_alone():
    text = str(half(None))
    assert "50.00% of 20 weights" in text
    assert "left alone: 0.bias (bias)" in text


def test_masks_in_channels_last_order():
    model = nn.Sequential(nn.Conv2d(3, 4, 3)).to(memory_format=torch.channels_last)
    keep = torch.rand(4, 3, 3, 3) > 0.5
    Masks({"0.weight": Mask(keep)}).apply(model)
    assert torch.equal(model[0].weight != 0, keep)
