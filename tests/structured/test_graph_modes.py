"""Modules that evaluated while their network trained do so in its graph, until it is told to train."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import featherweight as fw
from featherweight.core.trace import evaluating
from featherweight.structured.prune import prune_structured

X = torch.randn(4, 3, 5, 5)


class Net(nn.Module):
    """Has two batch norms, two dropouts, and a width in the forward."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 12, 3)
        self.norm, self.other = nn.BatchNorm2d(12), nn.BatchNorm2d(12)
        self.drop, self.more, self.head = nn.Dropout(0.5), nn.Dropout(0.0), nn.Linear(12, 3)

    def forward(self, x):
        x = self.drop(F.relu(self.norm(self.a(x))))
        return self.head(self.more(F.relu(self.other(self.b(x)))).view(-1, 12))


def frozen(model):
    model.train()
    model.norm.eval()
    model.drop.eval()
    return model


def cut(model):
    small, surgery = prune_structured(model, X, keep=0.5)
    assert surgery.attributes is None
    return small


def counts(graph):
    """Train on a batch, and return how often each norm has counted one."""
    graph(X)
    return int(graph.norm.num_batches_tracked), int(graph.other.num_batches_tracked)


def test_they_stay_as_they_were_until_it_is_told_to_train():
    graph = cut(frozen(Net()))
    assert graph.training
    assert counts(graph) == (0, 1)
    torch.testing.assert_close(graph(X), graph(X))  # the dropout that drops something evaluates
    graph.eval()
    assert counts(graph) == (0, 3)
    graph.train()
    assert counts(graph) == (1, 4)
    assert not torch.equal(graph(X), graph(X))


def test_a_module_that_only_ran_goes_on():
    graph = cut(frozen(Net()))
    with evaluating(graph):
        assert counts(graph) == (0, 0)
    assert counts(graph) == (0, 1)


def pickled(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled, cut])
def test_copies_and_further_cuts_keep_them(copied):
    graph = cut(frozen(Net()))
    other = copied(graph)
    assert counts(other) == (0, 1)
    assert counts(graph) == (0, 1)
    assert counts(other.train()) == (1, 2)


def test_loading_keeps_those_of_the_network_that_is_filled(tmp_path):
    fw.save(cut(Net()), tmp_path / "small.safetensors")
    loaded = fw.load(tmp_path / "small.safetensors", into=frozen(Net()))
    assert counts(loaded) == (0, 1)


def test_all_train_where_none_was_frozen():
    assert counts(cut(Net().train())) == (1, 1)
    graph = cut(frozen(Net()).eval())
    assert counts(graph) == (0, 0)
    assert counts(graph.train()) == (1, 1)
