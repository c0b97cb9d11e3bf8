"""A rewritten graph refuses inputs for which numbers in it are wrong; each is compared with the class."""

import copy
import io
import math
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import featherweight as fw
from featherweight.errors import ModelError
from featherweight.structured.prune import prune_structured


class Written(nn.Module):
    """Has its width in the forward, so that a graph is the result; ``ends`` computes with sizes."""

    def __init__(self, ends=lambda hidden, inputs: hidden):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 24), nn.Linear(24, 24), nn.Linear(24, 8)
        self.ends = ends

    def forward(self, x, scale=None):
        hidden = self.b(F.relu(self.a(x)))
        hidden = self.ends(hidden.view(-1, 24).view(*x.shape[:-1], 24), x)
        return self.c(hidden if scale is None else hidden * scale)


def cut(model, example):
    """Return the graph, and the class with zeros for what went."""
    torch.manual_seed(0)
    model = model.eval()
    zeroed = copy.deepcopy(model)
    small, surgery = prune_structured(model, example, keep=0.5)
    assert surgery.attributes is None
    named = dict(zeroed.named_parameters())
    for name, dims in surgery.kept.items():
        for dim, kept in dims.items():
            gone = torch.ones(named[name].shape[dim], dtype=torch.bool)
            gone[list(kept)] = False
            named[name].data.transpose(0, dim)[gone] = 0
    return small, zeroed


def agrees(small, zeroed, *inputs):
    torch.testing.assert_close(small(*inputs), zeroed(*inputs), rtol=1e-3, atol=1e-5)


LENGTHS = {
    "mean": lambda h, x: h.sum(1) / x.shape[1],
    "last": lambda h, x: h.cumsum(1)[:, x.shape[1] - 1],
    "pool": lambda h, x: F.avg_pool1d(h.transpose(1, 2), x.shape[1]).flatten(1),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_another_length_is_refused(name):
    small, zeroed = cut(Written(LENGTHS[name]), torch.randn(2, 6, 8))
    agrees(small, zeroed, torch.randn(5, 6, 8))
    with pytest.raises(
        ModelError, match=r"x is floats of shape \(5, 6, 8\); got floats of shape \(5, 7, 8\)"
    ):
        small(torch.randn(5, 7, 8))


BATCHES = {
    "one over": lambda h, x: h * (1.0 / x.shape[0]),
    "root": lambda h, x: h * math.sqrt(x.shape[0]),
    "half": lambda h, x: h * 2 if x.shape[0] // 2 == 1 else h,
    "half of it": lambda h, x: h - h[: x.shape[0] // 2].sum(0),
    "last": lambda h, x: h - h[x.shape[0] - 1],
    "odd": lambda h, x: h * 2 if x.shape[0] % 2 else h,
    "tensor": lambda h, x: h * torch.tensor(float(x.shape[0])),
    "type": lambda h, x: h.to(torch.float64 if x.shape[0] > 4 else torch.float32).float(),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_that_numbers_were_computed_from_is_not_free(name):
    small, zeroed = cut(Written(BATCHES[name]), torch.randn(2, 8))
    agrees(small, zeroed, torch.randn(2, 8))
    with pytest.raises(ModelError, match=r"a batch of 2 is written.*got a batch of 3"):
        small(torch.randn(3, 8))


def test_multiples_of_the_batch_are_free():
    small, zeroed = cut(Written(lambda h, x: h + h.new_full((2 * len(x), 1), 3)[len(x) :]), torch.randn(2, 8))
    for batch in (1, 2, 5):
        agrees(small, zeroed, torch.randn(batch, 8))


class Timed(Written):
    def forward(self, t, x):
        return super().forward(x) + t


def test_a_number_before_the_batch():
    small, zeroed = cut(Timed(), (torch.tensor(0.3), torch.randn(4, 8)))
    agrees(small, zeroed, torch.tensor(0.3), torch.randn(4, 8))
    agrees(small, zeroed, torch.tensor(0.9), torch.randn(5, 8))


class Nested(Written):
    def forward(self, xs, more):
        return super().forward(xs[0]) + more["a"][0]


def test_nested_inputs():
    small, zeroed = cut(Nested(), ([torch.randn(4, 8)], {"a": (torch.randn(4, 8),)}))
    agrees(small, zeroed, [torch.randn(6, 8)], {"a": (torch.randn(6, 8),)})
    with pytest.raises(ModelError, match=r"more\['a'\]\[0\] is floats of shape \(6, 8\)"):
        small([torch.randn(6, 8)], {"a": (torch.randn(5, 8),)})
    with pytest.raises(ModelError, match=r"xs\[0\], more\['a'\]\[0\]; got xs\[0\], xs\[1\]"):
        small([torch.randn(4, 8), torch.randn(4, 8)], {"a": (torch.randn(4, 8),)})


class Masked(Written):
    def forward(self, mask, x):
        return mask @ super().forward(x)


@pytest.mark.parametrize("batch", [3, 6])
def test_a_mask_before_the_batch_leaves_all_fixed(batch):
    small, zeroed = cut(Masked(), (torch.rand(6, 6), torch.randn(batch, 6, 8)))
    agrees(small, zeroed, torch.rand(6, 6), torch.randn(batch, 6, 8))
    with pytest.raises(ModelError, match="Cut it again"):
        small(torch.rand(6, 6), torch.randn(4, 6, 8))


def test_constants_and_types_are_those_of_the_example():
    small, zeroed = cut(Written(), {"x": torch.randn(2, 8), "scale": 2.0})
    agrees(small, zeroed, torch.randn(3, 8), 2.0)
    for other in (3.0, 2, None, torch.tensor(2.0)):
        with pytest.raises(ModelError, match=r"scale is 2\.0; got"):
            small(torch.randn(3, 8), scale=other)
    with pytest.raises(ModelError, match=r"x is floats .* got whole numbers"):
        small(torch.ones(3, 8, dtype=torch.long), 2.0)
    with pytest.raises(ModelError, match="with the inputs x, scale; got x"):
        small(torch.randn(3, 8))
    assert small.double()(torch.randn(3, 8).double(), 2.0).dtype == torch.float64


@pytest.mark.parametrize("how", ["copied", "pickled"])
def test_copies_refuse_the_same(how):
    small, _ = cut(Written(), torch.randn(2, 6, 8))
    file = io.BytesIO()
    torch.save(small, file)
    file.seek(0)
    other = copy.deepcopy(small) if how == "copied" else torch.load(file, weights_only=False)
    assert other(torch.ones(3, 6, 8)).shape == (3, 6, 8)
    with pytest.raises(ModelError, match="got floats of shape"):
        other(torch.ones(3, 7, 8))


def test_nested_inputs_are_saved_and_loaded(tmp_path):
    inputs = ([torch.randn(4, 8)], {"a": (torch.randn(4, 8), 3, None)})
    small, _ = cut(Nested(), inputs)
    fw.save(small, tmp_path / "small.safetensors")
    loaded = fw.load(tmp_path / "small.safetensors", into=Nested().eval())
    assert torch.equal(loaded(*inputs), small(*inputs))


class Pair(NamedTuple):
    first: torch.Tensor


def test_inputs_that_no_file_holds_are_refused_when_saving(tmp_path):
    small, _ = cut(Nested(), (Pair(torch.randn(4, 8)), {"a": [torch.randn(4, 8)]}))
    with pytest.raises(ModelError, match="with a Pair as input"):
        fw.save(small, tmp_path / "small.safetensors")
    assert not list(tmp_path.iterdir())
    fw.save(small.state_dict(), tmp_path / "small.safetensors")
