"""Projectors: each way between shapes against loops, what they start as, and which ways there are none."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.distillation.projectors import Projector, grid_of, rearranged
from featherweight.errors import ModelError

WAYS = {  # student's shape, teacher's shape
    "vector to vector": ((3, 5), (3, 7)),
    "map to map": ((3, 5, 4, 4), (3, 7, 4, 4)),
    "map to smaller map": ((3, 5, 8, 6), (3, 7, 4, 2)),
    "map to larger map": ((3, 5, 2, 3), (3, 7, 4, 5)),
    "tokens to tokens": ((3, 11, 5), (3, 11, 7)),
    "tokens to fewer tokens": ((3, 16, 5), (3, 4, 7)),
    "class and tokens to fewer": ((3, 17, 5), (3, 5, 7)),
    "class and tokens to tokens without": ((3, 17, 5), (3, 16, 7)),
    "tokens without to class and tokens": ((3, 16, 5), (3, 5, 7)),
    "tokens to map": ((3, 16, 5), (3, 7, 2, 3)),
    "class and tokens to map": ((3, 17, 5), (3, 7, 4, 4)),
    "map to tokens": ((3, 5, 6, 4), (3, 9, 7)),
    "map to class and tokens": ((3, 5, 6, 4), (3, 10, 7)),
    "map to vector": ((3, 5, 6, 4), (3, 7)),
    "tokens to vector": ((3, 11, 5), (3, 7)),
}


def pooled(image, height, width):
    """Adaptive average pooling of one map (channels, h, w) by its definition."""
    _, h, w = image.shape
    out = torch.empty(image.shape[0], height, width)
    for i in range(height):
        for j in range(width):
            rows = slice(i * h // height, -(-(i + 1) * h // height))
            columns = slice(j * w // width, -(-(j + 1) * w // width))
            out[:, i, j] = image[:, rows, columns].mean((1, 2))
    return out


def naive(x, target):
    """One example, moved to the positions of ``target`` (without the batch), with its own channels."""
    if len(target) == 1:
        return x if x.ndim == 1 else x.mean(0) if x.ndim == 2 else x.mean((1, 2))
    if x.ndim == len(target) == 2 and x.shape[0] == target[0]:
        return x
    first = None
    if x.ndim == 2:
        side = int(len(x) ** 0.5)
        if side * side < len(x):
            first, x = x[0], x[1:]
        x = torch.stack([x[i * side : (i + 1) * side].T for i in range(side)], 1)
    if len(target) == 3:
        return pooled(x, *target[1:])
    side = int(target[0] ** 0.5)
    image = pooled(x, side, side)
    tokens = [image[:, i, j] for i in range(side) for j in range(side)]
    if side * side < target[0]:
        tokens.insert(0, image.mean((1, 2)) if first is None else first)
    return torch.stack(tokens)


def mixed(y, linear):
    """The learnt part of one example, position by position."""
    if y.ndim == 3:
        return torch.stack(
            [torch.stack([linear.weight @ y[:, i, j] + linear.bias for j in range(y.shape[2])], 1)
             for i in range(y.shape[1])], 1
        )  # fmt: skip
    return y @ linear.weight.T + linear.bias


@pytest.mark.parametrize(("source", "target"), WAYS.values(), ids=WAYS)
def test_every_way_equals_loops_over_examples_and_positions(source, target):
    torch.manual_seed(0)
    x = torch.randn(source)
    projector = Projector(source, target)
    nn.init.normal_(projector.mix.bias)
    expected = torch.stack([mixed(naive(example, target[1:]), projector.mix) for example in x])
    got = projector(x)
    assert got.shape == target
    assert torch.allclose(got, expected, atol=1e-5)


def test_on_a_map_it_is_a_1x1_convolution():
    projector, x = Projector((2, 5, 3, 3), (2, 7, 3, 3)), torch.randn(2, 5, 3, 3)
    expected = F.conv2d(x, projector.mix.weight[:, :, None, None], projector.mix.bias)
    assert torch.allclose(projector(x), expected, atol=1e-6)


@pytest.mark.parametrize("target", [(2, 7, 2, 2), (2, 7, 8, 8)])
def test_mixing_channels_and_changing_the_resolution_commute(target):
    projector, x = Projector((2, 5, 4, 4), target), torch.randn(2, 5, 4, 4)
    first = projector.mix(x.movedim(1, -1)).movedim(-1, 1)
    assert torch.allclose(projector(x), F.adaptive_avg_pool2d(first, target[2:]), atol=1e-5)


def test_upwards_the_gradient_is_that_of_a_comparison_with_the_means_of_blocks():
    x = torch.randn(2, 5, 3, 3, requires_grad=True)
    goal = torch.randn(2, 5, 6, 6)
    up = Projector(x.shape, goal.shape, identity=True)
    (fine,) = torch.autograd.grad(F.mse_loss(up(x), goal), x)
    (coarse,) = torch.autograd.grad(F.mse_loss(x, F.avg_pool2d(goal, 2)), x)
    assert torch.allclose(fine, coarse, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5), (3, 11, 5), (3, 5, 4, 4)])
def test_of_equal_widths_it_starts_as_the_identity_and_learns(shape):
    x, projector = torch.randn(shape), Projector(shape, shape)
    assert torch.allclose(projector(x), x)
    projector(x).square().sum().backward()
    assert bool(projector.mix.weight.grad.any())


def test_the_identity_learns_nothing_where_widths_are_equal_and_only_there():
    assert not list(Projector((3, 5, 4, 4), (3, 5, 2, 2), identity=True).parameters())
    assert len(list(Projector((3, 5), (3, 6), identity=True).parameters())) == 2


def test_weights_follow_from_the_seed_and_leave_the_generators_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (Projector((1, 5), (1, 7), seed=s).mix.weight for s in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(9)
    assert torch.equal(first, again)
    assert torch.equal(first, Projector((1, 5), (1, 7)).mix.weight)
    assert not torch.equal(first, other)
    assert 0 < float(first.detach().abs().max()) <= 5**-0.5  # as Linear starts: within 1 / sqrt(inputs)


def test_it_follows_sizes_that_change_between_batches():
    tokens = Projector((2, 9, 5), (2, 9, 7))
    assert tokens(torch.randn(4, 13, 5), like=torch.empty(4, 13, 7)).shape == (4, 13, 7)
    image = Projector((2, 5, 8, 8), (2, 7, 4, 4))
    assert image(torch.randn(1, 5, 12, 12), like=torch.empty(1, 7, 6, 6)).shape == (1, 7, 6, 6)


def test_padding_is_no_part_of_a_mean_over_tokens():
    x, mask = torch.randn(2, 4, 5), torch.tensor([[True, True, False, False], [True] * 4])
    projector = Projector(x.shape, (2, 5), identity=True)
    got = projector(x, mask=mask)
    assert torch.allclose(got, torch.stack([x[0, :2].mean(0), x[1].mean(0)]), atol=1e-6)
    spoilt = x.masked_fill(~mask[:, :, None], torch.nan)
    assert torch.equal(projector(spoilt, mask=mask), got)
    told = re.escape("mask of padding is (2, 3), and the feature is tokens (2, 4, 5)")
    with pytest.raises(ModelError, match=told):
        projector(x, mask=mask[:, :3])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    assert Projector((2, 5), (2, 7))(torch.randn(2, 5).to(dtype)).dtype == torch.float32


@pytest.mark.parametrize(("source", "target"), WAYS.values(), ids=WAYS)
def test_gradients_in_float64(source, target):
    projector = Projector(source, target).double()
    x = torch.randn((1, *source[1:]), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w, b: F.linear(rearranged(x, target), w, b), (x, *projector.parameters()), fast_mode=True
    )
    assert torch.autograd.gradcheck(projector, (x,), fast_mode=True)


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ((2, 5), (2, 9, 7), "a vector has no positions"),
        ((2, 5), (2, 7, 4, 4), "a vector has no positions"),
        ((2, 11, 5), (2, 7, 4, 4), "square grid"),
        ((2, 5, 4, 4), (2, 11, 7), "square grid"),
        ((2, 11, 5), (2, 12, 7), "square grid"),
        ((2, 16, 5), (2, 12, 7), "square grid"),
        ((2, 5, 2, 2, 2), (2, 7), "one has 5"),
        ((2, 5), (2,), "one has 1"),
    ],
)  # fmt: skip
def test_where_there_is_no_way_both_shapes_are_told(source, target, why):
    with pytest.raises(ModelError, match=why) as error:
        Projector(source, target)
    assert str(tuple(source)) in str(error.value)
    assert str(tuple(target)) in str(error.value)


@pytest.mark.parametrize(
    ("tokens", "grid"),
    [(0, None), (1, (1, 1, False)), (2, (1, 1, True)), (3, None), (4, (2, 2, False)), (5, (2, 2, True)),
     (6, None), (196, (14, 14, False)), (197, (14, 14, True)), (198, None)],
)  # fmt: skip
def test_grids_of_tokens(tokens, grid):
    assert grid_of((1, tokens, 8)) == grid
