"""Networks compiled in place, or in parts: criteria, watches and one-shot methods see what they compute."""

import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.eager import eager
from featherweight.core.prunable import find_prunable
from featherweight.sparsity.criteria import Context, Fisher, Grasp, SynFlow, criteria
from featherweight.sparsity.layer_inputs import watched_inputs
from featherweight.sparsity.oneshot import prune_oneshot

CRITERIA = {
    **{name: criteria[name] for name in ("gradient", "taylor", "snip", "wanda")},
    "fisher": Fisher(),
    "grasp": Grasp(),
    "synflow": SynFlow(),
}


class Scaled(nn.Module):
    """Compiles a function of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.compiled = torch.compile(self.layer.forward, backend="eager")

    def forward(self, x):
        return self.compiled(x)


class Network(nn.Sequential):
    """Code of one's own: torch.compile leaves frames of torch itself alone."""

    def forward(self, x):
        for layer in self:
            x = layer(x)
        return x


def network():
    torch.manual_seed(0)
    return Network(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def in_place(model):
    model.compile(backend="eager")
    return model


def in_part(model):
    model[0].compile(backend="eager")
    model[2] = torch.compile(model[2], backend="eager")
    return model


def of_itself(model):
    scaled = Scaled()
    scaled.layer.load_state_dict(model[2].state_dict())
    model[2] = scaled
    return model


WAYS = [in_place, in_part, of_itself]


def data():
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(8, 5, generator=generator), torch.arange(8) % 3)]


def compiled(way):
    model = way(network())
    with torch.no_grad():
        model(data()[0][0])
    return model


def scored(criterion, model):
    weights = {w.name: w.tensor.detach() for w in find_prunable(model).weights}
    return list(criterion(weights, Context(model, data())).values())


@pytest.fixture(autouse=True)
def fresh():
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CRITERIA)
def test_scores_are_those_of_the_plain_network(name, way):
    model = compiled(way)
    torch.testing.assert_close(scored(CRITERIA[name], model), scored(CRITERIA[name], network()))


@pytest.mark.parametrize("way", WAYS)
def test_one_shot_prunes_as_in_the_plain_network(way):
    model, plain = compiled(way), network()
    found = prune_oneshot(model, 0.5, data(), progress=False)
    expected = prune_oneshot(plain, 0.5, data(), progress=False)
    for mask, other in zip(found.values(), expected.values(), strict=True):
        assert torch.equal(mask.keep, other.keep)
    with torch.no_grad():
        torch.testing.assert_close(model(data()[0][0]), plain(data()[0][0]))


def test_what_was_compiled_is_compiled_again_afterwards():
    calls = []

    def counting(graph, inputs):
        def run(*given):
            calls.append(len(given))
            return graph(*given)

        return run

    model = network()
    model.compile(backend=counting)
    x, y = data()[0]
    model(x)
    assert len(calls) == 1
    with eager():
        F.cross_entropy(model(x), y)
    scored(CRITERIA["snip"], model)
    with watched_inputs(find_prunable(model).weights) as watch:
        model(x)
    assert watch.uses == {"0.weight": 1, "2.weight": 1}
    assert len(calls) == 1
    model(x)
    assert len(calls) == 2


def test_without_it_nothing_is_seen(monkeypatch):
    monkeypatch.setattr(torch.compiler, "set_stance", lambda stance: contextlib.nullcontext())
    model = compiled(in_place)
    with pytest.raises(Exception, match=r"saw no input|user code"):
        scored(CRITERIA["wanda"], model)
