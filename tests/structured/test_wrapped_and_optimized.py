"""A network in a wrapper, or with an optimizer: what follows the cut, and what is refused before it."""

import pytest
import torch
from torch import nn

import featherweight as fw
from featherweight.errors import SettingError
from featherweight.structured import prune_structured


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def test_of_a_compiled_network_the_one_inside_is_cut_and_can_be_loaded(tmp_path):
    inner = mlp()
    small, _ = prune_structured(torch.compile(inner, backend="eager"), torch.randn(2, 8), keep=0.5)
    assert small is inner
    fw.save(small, tmp_path / "small.safetensors")
    again = fw.load(tmp_path / "small.safetensors", into=mlp())
    x = torch.randn(4, 8)
    assert torch.equal(again(x), small(x))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda model: "adam", r"optimizer= is a torch\.optim\.Optimizer, got 'adam'"),
        (lambda model: torch.optim.LBFGS(model.parameters()), "LBFGS keeps one flat vector"),
        (lambda model: torch.optim.SGD(mlp().parameters(), 0.1), "holds no parameter of this model"),
    ],
)
def test_an_optimizer_that_cannot_follow_is_refused_before_anything_is_changed(make, says):
    model = mlp()
    with pytest.raises(SettingError, match=says):
        prune_structured(model, torch.randn(2, 8), keep=0.5, optimizer=make(model))
    assert model[0].weight.shape == (16, 8)


def test_an_attached_pruner_is_refused():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    pruner = fw.Pruner(model, 0.5, schedule=fw.schedules.OneShot())
    pruner.attach(optimizer)
    with pytest.raises(SettingError, match="A Pruner is attached"):
        prune_structured(model, torch.randn(2, 8), keep=0.5, optimizer=optimizer)
    pruner.detach()
    prune_structured(model, torch.randn(2, 8), keep=0.5, optimizer=optimizer)
    assert model[0].weight.shape == (8, 8)


@pytest.mark.parametrize("kind", [torch.optim.Adafactor, torch.optim.Adam])
def test_training_goes_on_whatever_the_state_of_the_optimizer(kind):
    model, x = mlp(), torch.randn(4, 8)
    optimizer = kind(model.parameters(), 0.01)
    for step in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        if step == 0:
            model, _ = prune_structured(model, x, keep=0.5, optimizer=optimizer)
            kept = model[0].weight.detach().clone()
    assert model[0].weight.shape == (8, 8)
    assert not torch.equal(model[0].weight, kept)
