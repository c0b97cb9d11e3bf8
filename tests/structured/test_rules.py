"""Each rule, between a layer that makes channels and one that reads them: what it lets go may go.

The cut network has to equal the zeroed one. Whether channels can be cut at all is stated for each operation.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.structured.groups import find_groups
from featherweight.structured.rewrite import rewritten
from featherweight.structured.rules import rules
from featherweight.structured.verify import check


class Image(nn.Module):
    """``(n, 3, 8, 8)``, 12 channels, an operation, and a convolution that reads what comes out."""

    def __init__(self, operation):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.operation = operation
        with torch.no_grad():
            channels = operation(torch.rand(2, 12, 8, 8)).shape[1]
        self.head = nn.Conv2d(channels, 5, 1)

    def forward(self, x):
        return self.head(self.operation(self.stem(x))).amax((2, 3))


class Tokens(nn.Module):
    """``(n, 6, 7)``, 12 channels, an operation, and a linear layer that reads what comes out."""

    def __init__(self, operation):
        super().__init__()
        self.stem = nn.Linear(7, 12)
        self.operation = operation
        with torch.no_grad():
            channels = operation(torch.rand(2, 6, 12)).shape[-1]
        self.head = nn.Linear(channels, 5)

    def forward(self, x):
        return self.head(self.operation(self.stem(x)))


class Op(nn.Module):
    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def without_autocast(self, x):
    with torch.autocast("cpu", enabled=False):
        x, gate = self.up(x.float()).chunk(2, -1)
    return x * torch.sigmoid(gate)


def parameter(*shape):
    return nn.Parameter(torch.rand(*shape) + 0.5)


IMAGES = {
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "in place": lambda x: F.gelu(x).add_(1).mul_(2),
    "where": lambda x: torch.where(x > 0, x, x.mean((2, 3), keepdim=True)),
    "masked fill": lambda x: x.masked_fill(x < 0, 0.5),
    "max pool": lambda x: F.max_pool2d(x, 2),
    "average pool": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "adaptive pool": lambda x: F.adaptive_avg_pool2d(x, 3),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, size=(5, 5), mode="bilinear"),
    "reflection pad": lambda x: F.pad(x, (1, 1, 2, 0), mode="reflect"),
    "zero pad of channels": lambda x: F.pad(x, (0, 0, 0, 0, 2, 3)),
    "cat": lambda x: torch.cat([x, torch.sigmoid(x), x[:, 3:7]], 1),
    "split and join": lambda x: torch.cat([p * n for n, p in enumerate(x.split([2, 7, 3], 1), 1)], 1),
    "chunk": lambda x: torch.mul(*x.chunk(2, dim=1)),
    "slice": lambda x: x[:, 2:9] + x[:, -7:],
    "roll of positions": lambda x: x.roll((1, 2), (2, 3)),
    "flip of positions": lambda x: x.flip(2),
    "view as": lambda x: (x.flatten(2) * 2).view_as(x),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel shuffle": lambda x: F.channel_shuffle(x, 3),
    "unfold": lambda x: F.unfold(x, 3, padding=1).view(len(x), 108, 8, 8),
    "fold": lambda x: F.fold(F.unfold(x, 2, stride=2), (8, 8), 2, stride=2),
    "windows": lambda x: x.view(-1, 12, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, 12, 4, 4),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "repeat interleave": lambda x: x.repeat_interleave(2, dim=1),
    "squeeze and excite": Op(
        lambda self, x: x * torch.sigmoid(self.b(F.relu(self.a(x.mean((2, 3), keepdim=True))))),
        a=nn.Conv2d(12, 6, 1), b=nn.Conv2d(6, 12, 1),
    ),
    "layer scale": Op(lambda self, x: x * self.scale, scale=parameter(12, 1, 1)),
    "prelu": nn.PReLU(12),
    "batch norm": nn.BatchNorm2d(12),
    "instance norm": nn.InstanceNorm2d(12, affine=True),
    "group norm": nn.GroupNorm(3, 12),
    "channels last norm": Op(
        lambda self, x: self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), norm=nn.LayerNorm(12)
    ),
    "grouped": nn.Conv2d(12, 24, 3, padding=1, groups=4),
    "depthwise": nn.Conv2d(12, 24, 3, padding=1, groups=12),
    "transposed": nn.ConvTranspose2d(12, 8, 2, stride=2),
    "transposed in groups": nn.ConvTranspose2d(12, 8, 2, stride=2, groups=2),
    "standardised weight": Op(
        lambda self, x: F.conv2d(x, F.batch_norm(
            self.weight.view(1, 10, -1), None, None, weight=self.gain, training=True).view(10, 12, 1, 1)),
        weight=parameter(10, 12, 1, 1), gain=parameter(10),
    ),
    "weight norm": nn.utils.parametrizations.weight_norm(nn.Conv2d(12, 6, 1)),
    "fourier": lambda x: torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho"), s=(8, 8), norm="ortho"),
    "einsum": Op(lambda self, x: torch.einsum("nchw,co->nohw", x, self.weight), weight=parameter(12, 9)),
    "narrow": lambda x: x.narrow(1, 2, 7),
    "hstack": lambda x: torch.hstack([x, torch.sigmoid(x)]),
    "nearest, exact": lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
    "unpooled": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "meshgrid": lambda x: x + torch.stack(torch.meshgrid(*[torch.arange(8.0)] * 2, indexing="xy")).sum(0),
    "meshgrid of channels": lambda x: torch.meshgrid(x.mean((0, 2, 3)), torch.arange(8.0), indexing="xy")[0][
        :, :, None].expand(2, -1, -1, -1).transpose(1, 2).permute(0, 1, 3, 2) + x,
    "grid of places": lambda x: F.grid_sample(
        x, F.affine_grid(torch.eye(2, 3).expand(len(x), -1, -1), list(x.shape), align_corners=False),
        align_corners=False),
    "turned": lambda x: x.rot90(1, (2, 3)),
    "differences of places": lambda x: x.diff(dim=2, prepend=x[:, :, :1]),
    "fourier shifted": lambda x: torch.fft.fftshift(x, dim=(2, 3)),
    "added by index": lambda x: x.index_add(2, torch.tensor([0, 1]), x[:, :, :2]),
    "fake quantized": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.01, 0, -128, 127),
}  # fmt: skip

TOKENS = {
    "matmul": Op(lambda self, x: x @ self.weight, weight=parameter(12, 9)),
    "bmm": lambda x: torch.bmm(torch.bmm(x, x.transpose(1, 2)), x),
    "layer norm": nn.LayerNorm(12),
    "rms norm": nn.RMSNorm(12),
    "norm written out": lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt(),
    "norm of a part": Op(lambda self, x: self.norm(x.chunk(2, -1)[1]), norm=nn.LayerNorm(6)),
    "glu": F.glu,
    "swiglu": Op(lambda self, x: F.silu(self.a(x)) * self.b(x), a=nn.Linear(12, 16), b=nn.Linear(12, 16)),
    "embedding of positions": Op(lambda self, x: x + self.table(torch.arange(6)), table=nn.Embedding(6, 12)),
    "class token": Op(
        lambda self, x: torch.cat([self.token.expand(len(x), -1, -1), x], 1)[:, 0], token=parameter(1, 1, 12)
    ),
    "heads of one attention": Op(
        lambda self, x: F.scaled_dot_product_attention(
            *self.qkv(x).view(len(x), 6, 3, 4, 5).permute(2, 0, 3, 1, 4)).transpose(1, 2).flatten(2),
        qkv=nn.Linear(12, 60),
    ),
    "grouped queries": Op(
        lambda self, x: F.scaled_dot_product_attention(
            self.q(x).view(len(x), 6, 4, 5).transpose(1, 2), self.k(x).view(len(x), 6, 2, 5).transpose(1, 2),
            self.k(x).view(len(x), 6, 2, 5).transpose(1, 2), enable_gqa=True).transpose(1, 2).flatten(2),
        q=nn.Linear(12, 20), k=nn.Linear(12, 10),
    ),
    "rotary": lambda x: torch.cat([x[..., :6] * 0.6 - x[..., 6:] * 0.8, x[..., :6] + x[..., 6:]], -1),
    "one channel for all": lambda x: x * x[..., 4:5],
    "weight norm between": Op(
        lambda self, x: self.b(F.elu(self.a(x))),
        a=nn.utils.parametrizations.weight_norm(nn.Linear(12, 10)), b=nn.Linear(10, 8),
    ),
    "tied weight": Op(lambda self, x: F.linear(F.relu(self.up(x)), self.up.weight.t()), up=nn.Linear(12, 20)),
    "lstm": Op(lambda self, x: self.lstm(x)[0], lstm=nn.LSTM(12, 10, batch_first=True)),
    "gru, both ways": Op(
        lambda self, x: self.gru(x)[0], gru=nn.GRU(12, 10, 2, batch_first=True, bidirectional=True)
    ),
    "gather over tokens": lambda x: x.gather(1, x.argsort(1)[:, :3]),
    "index over tokens": lambda x: x[:, torch.tensor([3, 1])],
    "an empty slice": lambda x: torch.cat([x[:, :0], x[:, 0:]], 1),
    "a region without autocast": Op(without_autocast, up=nn.Linear(12, 20)),
    "unbind and stack": lambda x: torch.stack(x.unbind(1)[::2], 1),
    "bilinear": Op(lambda self, x: self.two(x, x), two=nn.Bilinear(12, 12, 8)),
    "tensordot": Op(lambda self, x: torch.tensordot(x, self.weight, dims=1), weight=parameter(12, 9)),
    "inner": Op(lambda self, x: torch.inner(x, self.weight), weight=parameter(9, 12)),
    "chain of products": Op(
        lambda self, x: torch.linalg.multi_dot([x[0], self.a, self.b]).expand(2, -1, -1),
        a=parameter(12, 9), b=parameter(9, 7),
    ),
    "cosine": lambda x: x * F.cosine_similarity(x, x.roll(1, 1), dim=-1)[..., None],
    "distance": lambda x: x * F.pairwise_distance(x, x.roll(1, 1), keepdim=True),
    "dot products": lambda x: x * torch.linalg.vecdot(x, x[:, :1])[..., None],
    "norm": lambda x: x / torch.linalg.norm(x, dim=-1, keepdim=True),
    "diagonal": lambda x: x * (x @ x.mT).diagonal(dim1=1, dim2=2)[..., None],
    "scattered": lambda x: torch.zeros_like(x).scatter_add(1, x.argsort(1), x),
    "written by index": lambda x: x.index_put((torch.tensor([0, 1]),), x[:2] * 2),
    "filled by index": lambda x: x.index_fill(1, torch.tensor([0]), 0.5),
    "bag of embeddings": Op(
        lambda self, x: x + self.bag(torch.arange(12).view(2, 6) % 4)[:, None], bag=nn.EmbeddingBag(4, 12)
    ),
    "lstm cell": Op(lambda self, x: torch.stack([self.cell(t)[0] for t in x.unbind(1)], 1),
                    cell=nn.LSTMCell(12, 10)),
    "gru cell": Op(lambda self, x: torch.stack([self.cell(t) for t in x.unbind(1)], 1),
                   cell=nn.GRUCell(12, 10)),
    "spectral norm": nn.utils.parametrizations.spectral_norm(nn.Linear(12, 9)),
    "fourier over tokens": lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=1), n=6, dim=1),
    "running maximum of tokens": lambda x: x.cummax(1).values,
    "broadcast": lambda x: torch.mul(*torch.broadcast_tensors(x, x[:, :1])),
}  # fmt: skip

FROZEN = {  # the stem's channels cannot be cut, and why
    "softmax over channels": (lambda x: x.softmax(-1), "depend on each other"),
    "cumulated": (lambda x: x.cumsum(-1), "depend on each other"),
    "sorted": (lambda x: x.sort(-1).values, "depend on each other"),
    "every other": (lambda x: x[..., ::2], "taken by their number"),
    "looked up": (lambda x: x[..., torch.tensor([1, 4, 3])], "looked up by index"),
    "rolled": (lambda x: x.roll(1, -1), "moved by a number"),
    "maximum over channels": (lambda x: x - x.amax(-1, keepdim=True), "reduced as a whole"),
    "fourier over channels": (lambda x: torch.fft.fft(x, dim=-1).real, "transformed as a whole"),
    "scattered over channels": (
        lambda x: x.scatter(-1, torch.zeros(2, 6, 3, dtype=torch.long), 0.0),
        "written by index",
    ),
    "differences of channels": (lambda x: x.diff(dim=-1), "neighbours are subtracted"),
    "largest norm": (lambda x: x / torch.linalg.norm(x, float("inf"), -1, True), "norm of order inf"),
    "no rule": (lambda x: x @ torch.matrix_exp(x.mT @ x), "without a rule"),
    "another fixed tensor": (lambda x: x + torch.arange(12.0), "never cut"),
}


def test_the_hidden_size_of_a_recurrent_layer(cut_of):
    torch.manual_seed(0)
    for layer in (nn.LSTM(12, 10, batch_first=True), nn.GRU(12, 10, 2, batch_first=True, bidirectional=True)):
        model = Tokens(Op(lambda self, x: self.layer(x)[0], layer=layer)).eval()
        cut = cut_of(model, torch.randn(2, 6, 7))
        small = rewritten(cut)
        assert small.get_parameter("operation.layer.weight_hh_l0").shape[1] == 5
        assert check(cut, small, torch.randn(2, 6, 7)) < 1e-5


def test_the_hidden_size_of_a_cell(cut_of):
    torch.manual_seed(0)
    for kind in (nn.LSTMCell, nn.GRUCell, nn.RNNCell):
        cell = Op(lambda self, x: torch.stack([self.cell(t) for t in x.unbind(1)], 1), cell=kind(12, 10))
        if kind is nn.LSTMCell:
            cell.function = lambda self, x: torch.stack([self.cell(t)[0] for t in x.unbind(1)], 1)
        cut = cut_of(Tokens(cell).eval(), torch.randn(2, 6, 7))
        small = rewritten(cut)
        assert small.get_parameter("operation.cell.weight_hh").shape[1] == 5
        assert check(cut, small, torch.randn(2, 6, 7)) < 1e-5


@pytest.mark.parametrize("wrong", [lambda flow: [flow.axes("self")[:1]], lambda flow: flow["nothing"]])
def test_where_a_rule_does_not_fit_nothing_is_cut(wrong, cut_of, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setitem(rules._entries, "aten.relu.default", wrong)
    cut = half_goes(Tokens(F.relu), torch.randn(2, 6, 7), cut_of, stem_is_cut=False)
    assert [call.op for call in cut.tracing.unknown] == ["aten.relu.default"]


def half_goes(model, inputs, cut_of, stem_is_cut=True):
    for value in model.parameters():
        value.data += 0.1 * torch.randn_like(value)
    for seed in range(2):
        cut = cut_of(model.eval(), inputs, seed=seed)
        small = rewritten(cut)
        assert check(cut, small, inputs) < 1e-4
        assert (len(small.get_parameter("stem.weight")) < 12) == stem_is_cut
        assert not cut.tracing.unknown or not stem_is_cut
    return cut


@pytest.mark.parametrize("name", IMAGES)
def test_channels_of_images(name, cut_of):
    torch.manual_seed(0)
    half_goes(Image(IMAGES[name]), torch.randn(2, 3, 8, 8), cut_of)


@pytest.mark.parametrize("name", TOKENS)
def test_channels_of_tokens(name, cut_of):
    torch.manual_seed(0)
    half_goes(Tokens(TOKENS[name]), torch.randn(2, 6, 7), cut_of)


@pytest.mark.parametrize("name", FROZEN)
def test_what_cannot_be_cut_says_why(name, cut_of):
    torch.manual_seed(0)
    operation, reason = FROZEN[name]
    cut = half_goes(Tokens(operation), torch.randn(2, 6, 7), cut_of, stem_is_cut=False)
    (frozen,) = (f for f in cut.tracing.frozen if f.place.tensor == "stem.weight" and f.place.dim == 0)
    assert any(reason in str(why) for why in frozen.reasons), frozen.reasons
    assert not any(place.tensor == "stem.weight" for g in find_groups(cut.tracing) for place in g.places)
