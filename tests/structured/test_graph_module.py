"""The graph of a cut network trains, evaluates and takes any batch, as its class does."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from featherweight.errors import ModelError
from featherweight.structured.checkpoint import load, save
from featherweight.structured.prune import prune_structured
from featherweight.structured.record import surgeries_of


class Written(nn.Module):
    """Has its width and its batch in the forward, and all that differs while training."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(12 * 16, 5)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x):
        x = self.drop(F.relu(self.norm(self.conv(x))))
        rows = x.permute(0, 2, 3, 1).reshape(x.shape[0] * 16, 12)
        return self.head(rows.reshape(-1, 16 * 12))


def cut(batch=2, **options):
    torch.manual_seed(0)
    model = Written().eval()
    small, surgery = prune_structured(model, torch.randn(batch, 1, 4, 4), keep=0.5, **options)
    assert surgery.attributes is None
    return model, small


@pytest.mark.parametrize("batch", [1, 2])
def test_any_batch(batch):
    _, small = cut(batch)
    x = torch.randn(7, 1, 4, 4)
    one_by_one = torch.cat([small(row[None]) for row in x])
    torch.testing.assert_close(small(x), one_by_one)


def test_training_and_evaluating():
    _, small = cut()
    x = torch.randn(8, 1, 4, 4)
    assert not small.training
    assert torch.equal(small(x), small(x))
    small.train()
    mean = small.norm.running_mean.clone()
    assert not torch.equal(small(x), small(x))  # dropout
    assert not torch.equal(small.norm.running_mean, mean)
    small.eval()
    assert torch.equal(small(x), small(x))


def test_the_mode_is_that_of_the_model():
    model = Written().train()
    small, _ = prune_structured(model, torch.randn(2, 1, 4, 4), keep=0.5)
    assert small.training


def test_training_agrees_with_the_class():
    """With nothing random, a step of the graph is a step of the class that has those sizes."""
    _model, small = cut()
    smaller = Written()
    smaller.conv, smaller.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
    smaller.head = nn.Linear(6 * 16, 5)
    smaller.load_state_dict(small.state_dict())
    smaller.forward = lambda x: smaller.head(
        F.relu(smaller.norm(smaller.conv(x))).permute(0, 2, 3, 1).reshape(-1, 6 * 16)
    )
    for node in small.graph.nodes:
        if "dropout" in node.name:
            node.update_arg(1, 0.0)
    x = torch.randn(8, 1, 4, 4)
    for net in (small.train(), smaller.train()):
        net(x).square().sum().backward()
    torch.testing.assert_close(small.conv.weight.grad, smaller.conv.weight.grad)
    torch.testing.assert_close(small.norm.running_var, smaller.norm.running_var)


def test_names_are_those_of_the_class_and_survive_a_copy():
    model, small = cut()
    assert list(small.state_dict()) == list(model.state_dict())
    copied = copy.deepcopy(small.train())
    assert copied.training
    assert list(copied.state_dict()) == list(model.state_dict())
    assert torch.equal(copied.eval()(torch.ones(3, 1, 4, 4)), small.eval()(torch.ones(3, 1, 4, 4)))


def pickled(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("mode", [True, False])
def test_a_pickled_one_goes_on_as_it_would_have(mode):
    _, small = cut()
    read = pickled(copy.deepcopy(small.train(mode)))
    assert (small.training, read.training) == (mode, mode)
    assert list(read.state_dict()) == list(small.state_dict())
    assert [record.to_dict() for record in surgeries_of(read)] == [r.to_dict() for r in surgeries_of(small)]
    x = torch.randn(7, 1, 4, 4)
    for _ in range(2):  # training, and evaluating
        outputs = []
        for model in (small, read):
            torch.manual_seed(3)
            outputs.append(model(x))
        assert torch.equal(*outputs)
        small.train(not mode)
        read.train(not mode)
    assert small.norm.num_batches_tracked == read.norm.num_batches_tracked == 1


def test_a_pickled_one_with_names():
    class Named(Written):
        def forward(self, x, scale=None):
            return {"logits": super().forward(x) * scale}

    inputs = {"x": torch.randn(2, 1, 4, 4), "scale": torch.ones(1)}
    small, surgery = prune_structured(Named().eval(), inputs, keep=0.5)
    assert surgery.attributes is None
    assert torch.equal(pickled(small)(**inputs)["logits"], small(**inputs)["logits"])


def test_fine_tuned_saved_and_loaded(tmp_path):
    _, small = cut()
    torch.manual_seed(1)
    x = torch.randn(96, 1, 4, 4)
    y = (x.mean((1, 2, 3)) > 0).long()
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    before = fw.evaluate(small, loader)
    history = fw.fit(small, loader, loader, fw.TrainingSettings(epochs=6), progress=False)
    assert history.best.validation > max(before, 0.75)
    save(small, tmp_path / "small.safetensors")
    loaded = load(tmp_path / "small.safetensors", into=Written().eval())
    assert torch.equal(loaded(x), small.eval()(x))


def test_cut_again():
    _, small = cut()
    x = torch.randn(2, 1, 4, 4)
    smaller, surgery = prune_structured(small, x, keep=0.5)
    assert surgery.difference < 1e-5
    assert len(smaller.conv.weight) == 3
    assert smaller(torch.randn(5, 1, 4, 4)).shape == (5, 5)


def test_what_is_not_used_is_left_alone():
    _, small = cut()
    assert small.unused.shape == (3,)


def test_a_batch_that_cannot_be_told_is_refused_in_words():
    class Odd(Written):
        def forward(self, x):
            x = super().forward(x)
            return x + torch.ones(len(x) + 1, 5)[1:] if len(x) < 3 else x * 2

    small, surgery = prune_structured(Odd().eval(), torch.randn(2, 1, 4, 4), keep=0.5)
    assert surgery.attributes is None
    assert small(torch.randn(2, 1, 4, 4)).shape == (2, 5)
    with pytest.raises(ModelError, match=r"a batch of 2 is written.*got a batch of 5"):
        small(torch.randn(5, 1, 4, 4))
