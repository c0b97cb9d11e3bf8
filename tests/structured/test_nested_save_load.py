"""Surgeries of modules inside of others are saved with those, and done again inside of fresh ones."""

import copy
import json

import pytest
import torch
from torch import nn

import featherweight as fw
from featherweight import artifact
from featherweight.errors import ModelError
from featherweight.structured.prune import prune_structured
from featherweight.structured.record import KEY, surgeries_of

X = torch.randn(4, 6)


class Backbone(nn.Module):
    """Keeps its class when it is cut."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 12), nn.Linear(12, 8)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


@pytest.fixture(params=["class", "graph"])
def backbone(request, written):
    """Return a class that stays, or one of which a rewritten graph comes."""
    return Backbone if request.param == "class" else written


def outer(backbone):
    width = 8 if backbone is Backbone else 3
    return nn.Sequential(
        nn.Sequential(nn.Identity(), backbone()), nn.Linear(width, 10), nn.Linear(10, 2)
    ).eval()


def cut_inside(backbone, seed=0):
    torch.manual_seed(seed)
    model = outer(backbone)
    model[0][1], surgery = prune_structured(model[0][1], X, keep=0.5)
    assert (surgery.attributes is None) == (backbone is not Backbone)
    return model


def saved_and_loaded(model, path, fresh):
    fw.save(model, path)
    loaded = fw.load(path, into=fresh)
    assert torch.equal(loaded(X), model(X))
    return loaded


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outer.safetensors"


def test_a_cut_module_inside_of_another(backbone, path):
    model, fresh = cut_inside(backbone), outer(backbone)
    loaded = saved_and_loaded(model, path, fresh)
    assert loaded is fresh
    assert loaded[0][1].a.weight.shape == (6, 6)
    assert type(loaded[0][1]) is backbone or isinstance(loaded[0][1], torch.fx.GraphModule)


def test_what_was_loaded_is_saved_again_whole_and_in_part(backbone, path):
    model = cut_inside(backbone)
    loaded = saved_and_loaded(model, path, outer(backbone))
    again = saved_and_loaded(loaded, path, outer(backbone))
    fw.save(again[0][1], path)
    assert torch.equal(fw.load(path, into=backbone())(X), model[0][1](X))


def test_the_outer_one_is_cut_after_the_inner_one(backbone, path):
    model, surgery = prune_structured(cut_inside(backbone), X, keep=0.5)
    assert surgery.params[1] < surgery.params[0]
    assert [record.within for record in surgeries_of(model)] == ["0.1", ""]
    saved_and_loaded(model, path, outer(backbone))


def test_the_inner_one_is_cut_after_the_outer_one(path):
    torch.manual_seed(0)
    model, _ = prune_structured(outer(Backbone), X, keep=0.8, scope="group")
    model[0][1], _ = prune_structured(model[0][1], X, keep=0.5)
    assert [record.within for record in surgeries_of(model)] == ["", "0.1"]
    saved_and_loaded(model, path, outer(Backbone))


def test_only_what_is_left_is_done(path):
    """An inner module that is cut already is not cut again."""
    model, _ = prune_structured(cut_inside(Backbone), X, keep=0.5)
    saved_and_loaded(model, path, cut_inside(Backbone))


def test_two_copies_of_one_that_was_cut(path):
    inner, _ = prune_structured(Backbone(), X, keep=0.5)
    model = nn.ModuleDict({"left": inner, "right": copy.deepcopy(inner)})
    fw.save(model, path)
    fresh = fw.load(path, into=nn.ModuleDict({"left": Backbone(), "right": Backbone()}))
    assert torch.equal(fresh["right"](X), inner(X))
    assert torch.equal(fresh["left"](X), inner(X))


def test_one_module_in_two_places(written, path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.left = self.right = written()

        def forward(self, x):
            return self.left(x) + self.right(x)

    model = Twice()
    model.left, _ = prune_structured(model.left, X, keep=0.5)
    model.right = model.left
    loaded = saved_and_loaded(model, path, Twice())
    assert loaded.left is loaded.right


def test_a_compiled_module_inside(backbone, path):
    model = cut_inside(backbone)
    expected = model(X)
    model[0][1] = torch.compile(model[0][1], backend="eager")
    fw.save(model, path)
    fresh = outer(backbone)
    fresh[0][1] = torch.compile(fresh[0][1], backend="eager")
    assert torch.equal(fw.load(path, into=outer(backbone))(X), expected)
    assert torch.equal(fw.load(path, into=fresh)(X), expected)


def test_a_failure_leaves_everything_as_it_was(backbone, path):
    model = cut_inside(backbone)
    model[2].bias = None
    fw.save(model, path)
    fresh = outer(backbone)
    inner, before = fresh[0][1], fresh(X)
    with pytest.raises(ModelError, match=r"2\.bias"):
        fw.load(path, into=fresh)
    assert fresh[0][1] is inner
    assert torch.equal(fresh(X), before)
    assert not surgeries_of(fresh)


def test_another_network_is_refused_in_words(path):
    fw.save(cut_inside(Backbone), path)
    with pytest.raises(ModelError, match=r"it has no module '0\.1'.*Nothing was changed"):
        fw.load(path, into=nn.Sequential(nn.Linear(6, 2)))


def test_records_of_the_root_are_written_as_ever(path):
    small, _ = prune_structured(Backbone(), X, keep=0.5)
    fw.save(small, path)
    (record,) = json.loads(artifact.inspect(path).metadata[KEY])
    assert record.keys() == {"axes", "kept", "attributes", "example"}


def test_a_state_dict_has_no_record(path):
    small, _ = prune_structured(Backbone(), X, keep=0.5)
    fw.save(small.state_dict(), path)
    with pytest.raises(ModelError, match=r"no record of a surgery.*save it with fw\.save\(model, "):
        fw.load(path, into=Backbone())
    fw.save(nn.Linear(6, 2), path)
    with pytest.raises(ModelError) as caught:
        fw.load(path, into=Backbone())
    assert "surgery" not in str(caught.value)


class Caching(nn.Module):
    """Makes a buffer, which its class does not save, when it first runs."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.place = nn.Linear(6, 12), nn.Linear(12, 3), nn.Linear(4, 12)
        self.register_buffer("places", torch.zeros(1, 4), persistent=False)

    def forward(self, x):
        if self.places.shape[0] != len(x):
            self.places = torch.linspace(0, 1, 4 * len(x)).view(len(x), 4)
        return self.b(torch.relu(self.a(x) + self.place(self.places)).view(-1, 12))


@pytest.mark.parametrize("saved_as_before", [True, False])
def test_buffers_that_are_made_when_a_network_first_runs(path, saved_as_before):
    torch.manual_seed(0)
    model = Caching().eval()
    small, _ = prune_structured(model, X, keep=0.5, scope="group")
    assert "places" not in small.state_dict()
    if saved_as_before:
        small.save_buffers(["places"])
        assert "places" in small.state_dict()
    loaded = saved_and_loaded(small, path, Caching().eval())
    assert loaded.state_dict().keys() == small.state_dict().keys()
