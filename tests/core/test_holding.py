"""Masks held while a network trains: after each step, in another type, until they are let go."""

import pytest
import torch
from torch import nn

import featherweight as fw
from featherweight.core.holding import Holding
from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.errors import MaskError
from featherweight.training import Attachment


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


@pytest.fixture
def holding(model):
    keep = {name: torch.rand_like(value) > 0.5 for name, value in model.named_parameters() if value.ndim > 1}
    keep["0.weight"][0] = False  # an output that is cut off stays cut off
    return Holding(model, Masks({name: Mask(each) for name, each in keep.items()}))


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(3, 4)).square().sum().backward()
    optimizer.step()


def are_zero(holding):
    weights = dict(holding.model.named_parameters())
    return all(not weights[name][~mask.keep].any() for name, mask in holding.masks.items())


def optimizer_of(model):
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)


def test_zeros_stay_from_attach_to_detach(model, holding):
    optimizer = optimizer_of(model)
    step(model, optimizer)  # there is momentum for what is to be zero
    assert not are_zero(holding)
    holding.attach(optimizer)
    assert are_zero(holding)
    for _ in range(3):
        step(model, optimizer)
        assert are_zero(holding)
    assert holding.step == 3
    assert not model[0].weight[0].any()
    holding.detach()
    holding.detach()
    step(model, optimizer)
    assert not are_zero(holding)
    assert holding.step == 3


def test_attached_again_it_works_once_a_step(model, holding):
    optimizer = optimizer_of(model)
    holding.attach(optimizer)
    holding.attach(optimizer)
    step(model, optimizer)
    assert holding.step == 1


def test_a_model_of_another_type_is_held_too(model, holding):
    optimizer = optimizer_of(model)
    holding.attach(optimizer)
    model.double()
    with torch.no_grad():
        model[0].weight.fill_(1)
    holding.load_state_dict({"step": 7})
    assert are_zero(holding)
    assert model[0].weight.dtype == torch.float64
    assert holding.state_dict() == {"step": 7}


def test_it_says_which_zeros(model, holding):
    assert isinstance(holding, Attachment)
    assert holding.fingerprint() == Holding(model, holding.masks).fingerprint()
    other = fw.prune(model, 0.5)
    assert holding.fingerprint() != Holding(model, other).fingerprint()
    assert f"{other.numel - other.kept:,}" in Holding(model, other).fingerprint()
    assert Holding(model, other).sparsity == 0.5


def test_masks_of_another_network_are_refused(holding):
    with pytest.raises(MaskError):
        Holding(nn.Sequential(nn.Linear(4, 5)), holding.masks)
