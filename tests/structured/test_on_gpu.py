"""Surgery on a GPU; skipped where torch sees none."""

import copy

import pytest
import torch

import featherweight as fw
from featherweight.structured.depth.importance import block_importances
from featherweight.structured.importance import importances
from featherweight.zoo import build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")


def batches():
    rng = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 1, 28, 28, generator=rng), torch.arange(8))]


@pytest.mark.parametrize("criterion", importances)
def test_the_cut_network_is_that_of_the_cpu(criterion, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    model = build("small_cnn", in_channels=1, classes=10, image_size=28).eval()
    there = copy.deepcopy(model).cuda()
    [(x, _)] = batches()
    here = fw.prune_structured(model, x, keep=0.5, criterion=criterion, data=batches())[0]
    found = fw.prune_structured(there, x.cuda(), keep=0.5, criterion=criterion, data=batches())[0]
    with torch.no_grad():
        assert torch.allclose(found(x.cuda()).cpu(), here(x), atol=1e-3)
    found(x.cuda()).sum().backward()


@pytest.mark.parametrize("criterion", block_importances)
def test_the_same_blocks_go(criterion, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    model = build("resnet20", in_channels=1, classes=10, image_size=28).eval()
    there = copy.deepcopy(model).cuda()
    [(x, _)] = batches()
    how = {"blocks": 2, "block_criterion": criterion, "data": batches()}
    here, cut = fw.prune_structured(model, x, **how)
    found, cut_there = fw.prune_structured(there, x.cuda(), **how)
    assert str(cut_there) == str(cut)
    with torch.no_grad():
        assert torch.allclose(found(x.cuda()).cpu(), here(x), atol=1e-3)


def test_step_by_step():
    torch.manual_seed(0)
    model = build("small_cnn", in_channels=1, classes=10, image_size=28)
    settings = fw.TrainingSettings(epochs=2, learning_rate=0.01)
    [(x, _)] = batches()
    small, _ = fw.progressive_prune_structured(
        model, x, macs=0.5, train=batches(), validate=batches(), settings=settings, progress=False
    )
    assert fw.count_params(small) < fw.count_params(model)
