"""Half the units of whole networks go; what is left equals the network with those channels zeroed."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.trace import trace
from featherweight.structured.axes import trace_axes
from featherweight.structured.groups import find_groups
from featherweight.structured.prune import prune_structured
from featherweight.structured.rewrite import rewritten
from featherweight.structured.verify import check, difference
from featherweight.zoo import build


def zeroed(model, cut):
    """Return a copy of the model with zeros where the cut removes: the naive reference."""
    copied = copy.deepcopy(model)
    named = dict(copied.named_parameters(remove_duplicate=False)) | dict(copied.named_buffers())
    for name, dims in cut.stored.items():
        for dim, kept in dims.items():
            named[name].data.index_fill_(dim, torch.from_numpy(np.flatnonzero(~kept)), 0.0)
    return copied


def randomised(model):
    """Give norms weights and statistics that are not 0 and 1, so that no mistake hides behind them."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 1.5)
    return model.eval()


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [("lenet_300_100", 1, 28), ("small_cnn", 1, 28), ("resnet20", 1, 28), ("resnet18", 3, 32),
     ("mobilenet_v1", 3, 32), ("mobilenet_v2", 3, 32), ("vgg16_bn", 3, 32)],
)  # fmt: skip
def test_a_network_of_the_zoo(cut_of, name, channels, size):
    model = randomised(build(name, in_channels=channels, classes=10, image_size=size))
    inputs = torch.randn(2, channels, size, size)
    cut = cut_of(model, inputs)
    small = rewritten(cut)
    assert count(small) < 0.5 * count(model)
    with torch.no_grad():
        expected, got = zeroed(model, cut)(inputs), small(inputs)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert (expected - model(inputs)).abs().max() > 1e-3  # the cut is not without effect


class Puzzle(nn.Module):
    """Concatenation, shuffled groups, a gate, a skip, and a flattening before the classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.left = nn.Conv2d(12, 8, 1)
        self.grouped = nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.gate = nn.Linear(20, 20)
        self.mix = nn.ConvTranspose2d(20, 12, 2, stride=2)
        self.head = nn.Linear(12 * 16, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        grouped = self.grouped(x)
        shuffled = grouped.view(len(x), 3, 4, 4, 4).transpose(1, 2).reshape(len(x), 12, 4, 4)
        both = torch.cat([self.left(x), shuffled], 1)
        both = both * torch.sigmoid(self.gate(both.mean((2, 3))))[:, :, None, None]
        out = F.max_pool2d(self.mix(both), 2) + x
        return self.head(out.flatten(1))


class Heads(nn.Module):
    """Attention written out, with a fused projection, keys shared by pairs of queries, and no norm."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 24)
        self.q = nn.Linear(24, 24)
        self.kv = nn.Linear(24, 2 * 2 * 6)
        self.out = nn.Linear(24, 24)
        self.head = nn.Linear(24, 3)

    def forward(self, tokens):
        x = self.embed(tokens)
        n, t, _ = x.shape
        q = self.q(x).view(n, t, 4, 6).transpose(1, 2)
        k, v = self.kv(x).view(n, t, 2, 2, 6).permute(2, 0, 3, 1, 4)
        k, v = (z[:, :, None].expand(n, 2, 2, t, 6).reshape(n, 4, t, 6) for z in (k, v))
        scores = torch.softmax(q @ k.transpose(-1, -2) / 6**0.5, dim=-1)
        x = x + self.out((scores @ v).transpose(1, 2).flatten(2))
        return self.head(x.amax(1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("network", "inputs"), [(Puzzle, torch.randn(2, 3, 4, 4)), (Heads, torch.randint(0, 11, (2, 5)))]
)
def test_structures_that_products_and_joins_make(cut_of, network, inputs, seed):
    torch.manual_seed(0)
    model = network().eval()
    cut = cut_of(model, inputs, seed=seed)
    small = rewritten(cut)
    assert count(small) < 0.6 * count(model)
    with torch.no_grad():
        torch.testing.assert_close(small(inputs), zeroed(model, cut)(inputs), rtol=1e-4, atol=1e-5)


class Normed(nn.Module):
    """Layer, group and RMS norms over dimensions that are cut; the last one is written out."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3)
        self.groups = nn.GroupNorm(3, 12)
        self.fc = nn.Linear(12, 20)
        self.layer = nn.LayerNorm(20)
        self.fc2 = nn.Linear(20, 16)
        self.scale = nn.Parameter(torch.rand(16))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = F.relu(self.groups(self.conv(x))).mean((2, 3))
        x = self.fc2(F.gelu(self.layer(self.fc(x))))
        return self.head(x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.scale)


@pytest.mark.parametrize("network", ["norms", "vit_tiny"])
def test_norms_run_over_what_is_left(cut_of, network):
    torch.manual_seed(0)
    model = Normed() if network == "norms" else build(network, in_channels=1, classes=10)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    size = 8 if network == "norms" else 28
    inputs = torch.randn(2, 1, size, size)
    cut = cut_of(model.eval(), inputs)
    small = rewritten(cut)
    assert count(small) < 0.5 * count(model)
    assert check(cut, small, inputs) < 1e-5
    with torch.no_grad():
        assert difference(zeroed(model, cut)(inputs), small(inputs)) > 1e-3  # plain zeros do count


def test_a_wrong_cut_is_found(cut_of):
    model = build("small_cnn").eval()
    inputs = torch.randn(2, 1, 28, 28)
    cut = cut_of(model, inputs)
    small = rewritten(cut)
    assert check(cut, small, inputs) < 1e-5
    small.get_parameter("convs.1.weight").data.mul_(-1)
    assert check(cut, small, inputs) > 1e-2


def test_heads_and_their_channels_are_two_groups():
    torch.manual_seed(0)
    tracing = trace_axes(trace(Heads(), torch.randint(0, 11, (2, 5))))
    sizes = {group.name: len(group) for group in find_groups(tracing)}
    assert sizes == {"embed.weight[1]": 24, "q.weight": 2, "q.weight #2": 2, "q.weight #3": 6}


def test_what_is_frozen_says_why():
    model = nn.Sequential(nn.Conv1d(2, 6, 3), nn.Softmax(dim=1), nn.Conv1d(6, 4, 1))
    tracing = trace_axes(trace(model, torch.randn(1, 2, 8)))
    reasons = {f.place.tensor: str(f.reasons[0]) for f in tracing.frozen if f.place.dim == 0}
    assert "depend on each other" in reasons["0.weight"]
    assert reasons["2.weight"] == "output of the network"
    assert not find_groups(tracing)


class Positions(nn.Module):
    """Tables that are as long as the longest input, read through numbers and directly."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(20, 16)
        self.position = nn.Embedding(32, 16)
        self.shift = nn.Parameter(torch.randn(1, 32, 16))
        self.register_buffer("numbers", torch.arange(32)[None])
        self.hidden, self.head = nn.Linear(16, 24), nn.Linear(24, 3)

    def forward(self, ids):
        length = ids.shape[1]
        x = self.token(ids) + self.position(self.numbers[:, :length]) + self.shift[:, :length]
        return self.head(torch.relu(self.hidden(x)))


def test_positions_beyond_the_example_inputs_stay(cut_of):
    torch.manual_seed(0)
    model, ids = Positions().eval(), torch.randint(0, 20, (2, 6))
    tracing = trace_axes(trace(model, ids))
    assert not any(
        place.tensor in ("numbers", "shift") and place.dim == 1
        for group in find_groups(tracing)
        for place in group.places
    )
    why = {(f.place.tensor, f.place.dim): list(map(str, f.reasons)) for f in tracing.frozen}
    assert "no operation used it on the example inputs" in why["numbers", 1]
    cut = cut_of(model, ids)
    longer = torch.randint(0, 20, (2, 31))
    small, _ = prune_structured(copy.deepcopy(model), ids, keep=0.5)
    assert type(small) is Positions
    with torch.no_grad():
        assert small(longer).shape == (2, 31, 3)
    assert cut.stored.keys() == {
        "token.weight", "position.weight", "shift", "hidden.weight", "hidden.bias", "head.weight",
    }  # fmt: skip
