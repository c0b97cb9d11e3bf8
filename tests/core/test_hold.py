"""Zeros held by the bits of a weight: the same as masked_fill_, for every type and memory order."""

import pytest
import torch
from torch import nn

from featherweight.core.hold import Held

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["rows", "channels_last", "transposed", "every other"])
def test_the_same_as_masked_fill(dtype, order):
    torch.manual_seed(0)
    values = torch.randn(4, 6, 3, 5).to(dtype)
    if order == "channels_last":
        values = values.contiguous(memory_format=torch.channels_last)
    elif order == "transposed":
        values = values.transpose(0, 1)
    elif order == "every other":
        values = values[:, ::2]
    pruned = torch.rand(values.shape) < 0.5
    weight = nn.Parameter(values.clone(memory_format=torch.preserve_format))
    Held.of(weight, pruned).zero_()
    assert torch.equal(weight, values.masked_fill(pruned, 0))


def test_nan_and_minus_zero_become_plus_zero():
    weight = nn.Parameter(torch.tensor([float("nan"), -0.0, float("inf"), -2.0]))
    Held.of(weight, torch.tensor([True, True, True, False])).zero_()
    assert weight.tolist() == [0, 0, 0, -2]
    assert not torch.signbit(weight[:3]).any()


def test_the_gradient_is_not_touched():
    weight = nn.Parameter(torch.ones(3))
    (weight * 2).sum().backward()
    Held.of(weight, torch.tensor([True, False, True])).zero_()
    assert weight.grad.tolist() == [2, 2, 2]
    assert weight.is_leaf
