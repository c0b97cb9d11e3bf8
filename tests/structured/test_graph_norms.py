"""A rewritten graph counts batches and averages over them as the class does."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.trace import trace
from featherweight.structured.axes import trace_axes
from featherweight.structured.batch_norm import reestimate_batch_norm
from featherweight.structured.cut import Cut
from featherweight.structured.graph_module import as_module
from featherweight.structured.prune import prune_structured


class Normed(nn.Module):
    """Has batch norms of every kind; one is used twice, one is not used at all."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, 6, 3, padding=1) for c in (1, 6, 6))
        self.usual, self.cumulative = nn.BatchNorm2d(6, momentum=0.3), nn.BatchNorm2d(6, momentum=None)
        self.twice = nn.BatchNorm2d(6, momentum=None, affine=False)
        self.untracked, self.unused = nn.BatchNorm2d(6, track_running_stats=False), nn.BatchNorm2d(6)
        self.uncounted = nn.BatchNorm2d(6)
        self.uncounted.num_batches_tracked = None
        self.register_buffer("transient", torch.ones(6, 1, 1), persistent=False)

    def forward(self, x):
        x = F.relu(self.usual(self.convs[0](x))) * self.transient
        x = F.relu(self.cumulative(self.convs[1](x)))
        x = self.twice(self.twice(x) + 1)
        return self.uncounted(self.untracked(self.convs[2](x))).mean((2, 3))


def pair():
    torch.manual_seed(0)
    model = Normed()
    with torch.no_grad():
        for _ in range(2):  # it has counted something before
            model(torch.randn(4, 1, 8, 8))
    return model, graph_of(copy.deepcopy(model))


def graph_of(model):
    example = torch.randn(2, 1, 8, 8)
    return as_module(Cut(trace_axes(trace(model, example)), ()), model, example)


def steps(model, number=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(number):
        optimizer.zero_grad()
        model(torch.randn(4, 1, 8, 8, generator=generator)).square().sum().backward()
        optimizer.step()
    return model


def assert_same(got, expected):
    assert list(got.state_dict()) == list(expected.state_dict()) or set(got.state_dict()) == set(
        expected.state_dict()
    )
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(got.state_dict()[name], tensor, msg=name)


def test_training_is_that_of_the_class():
    model, graph = pair()
    assert_same(steps(graph), steps(model))
    assert graph.usual.num_batches_tracked == 5
    assert graph.cumulative.num_batches_tracked == 5
    assert graph.twice.num_batches_tracked == 10
    assert graph.unused.num_batches_tracked == 0


def test_evaluating_counts_nothing():
    model, graph = pair()
    x = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(graph.eval()(x), model.eval()(x))
    assert graph.usual.num_batches_tracked == 2


def test_a_copy_a_loaded_state_and_another_graph_train_on_alike():
    model, graph = pair()
    copied = copy.deepcopy(steps(graph))
    again = graph_of(copy.deepcopy(copied))
    _, loaded = pair()
    loaded.load_state_dict(graph.state_dict())
    steps(model)
    for other in (graph, copied, again, loaded):
        assert_same(steps(other, seed=2), steps(copy.deepcopy(model), seed=2))


def test_inside_of_another_network():
    model, graph = pair()
    outer = nn.Sequential(model, nn.Linear(6, 2))
    other = graph_of(nn.Sequential(graph, copy.deepcopy(outer[1])))
    assert_same(steps(other), steps(outer))


def test_a_mode_that_was_set_as_an_attribute():
    _, graph = pair()
    x = torch.randn(3, 1, 8, 8)
    graph.eval()
    graph.training = True
    graph(x)
    assert graph.usual.num_batches_tracked == 3
    graph.training = False
    graph(x)
    assert graph.usual.num_batches_tracked == 3


def test_statistics_estimated_anew_inside_of_another_network():
    model, graph = pair()
    outer, other = nn.Sequential(model), nn.Sequential(graph)
    data = [(torch.randn(4, 1, 8, 8), torch.zeros(4)) for _ in range(3)]
    assert reestimate_batch_norm(outer, data) == 5
    assert reestimate_batch_norm(other, data) == 4  # the one that nothing uses is not in the graph
    torch.testing.assert_close(other[0].cumulative.running_mean, model.cumulative.running_mean)
    assert_same(steps(other), steps(outer))


def test_a_cut_network_counts(written_norm):
    small, surgery = prune_structured(written_norm, torch.randn(2, 6), keep=0.5)
    assert surgery.attributes is None
    small.train()(torch.randn(4, 6))
    assert small.norm.num_batches_tracked == 1


@pytest.fixture
def written_norm(written):
    model = written()
    model.norm = nn.BatchNorm1d(12, momentum=None)
    model.forward = lambda x: model.b(torch.relu(model.norm(model.a(x))).view(-1, 12))
    return model
