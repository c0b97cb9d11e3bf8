"""Closed-form checks of each criterion."""

import torch
from torch import nn

from featherweight.sparsity.criteria import Context, criteria

WEIGHTS = {"w": torch.tensor([[-3.0, 1.0], [0.5, -2.0]])}


def test_magnitude_is_the_absolute_value():
    scores = criteria["magnitude"](WEIGHTS, Context(nn.Identity()))
    assert torch.equal(scores["w"], torch.tensor([[3.0, 1.0], [0.5, 2.0]]))


def test_random_depends_on_seed_and_layer_and_not_on_the_weights():
    two = WEIGHTS | {"v": torch.zeros(2, 2)}
    first = criteria["random"](two, Context(nn.Identity(), seed=0))
    other = criteria["random"](two, Context(nn.Identity(), seed=1))
    assert not torch.equal(first["w"], first["v"])
    assert not torch.equal(first["w"], other["w"])
    negated = criteria["random"]({"w": -WEIGHTS["w"]}, Context(nn.Identity(), seed=0))
    assert torch.equal(first["w"], negated["w"])
