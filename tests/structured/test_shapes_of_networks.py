"""Networks of shapes that are hard to follow: half of every group goes, and what is left is the zeroed one.

``prune_structured`` checks that itself, on the example inputs and on others; here also what it cut, and that
a saved one can be loaded.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from featherweight.errors import SurgeryError
from featherweight.structured.checkpoint import load, save
from featherweight.structured.prune import prune_structured
from featherweight.structured.rewrite import adjustments


def conv(i, o, **more):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, **more), nn.BatchNorm2d(o), nn.ReLU())


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.deep, self.up = conv(3, 8), conv(8, 16), nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.join, self.out = conv(16, 8), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        skip = self.down(x)
        return self.out(self.join(torch.cat([self.up(self.deep(F.max_pool2d(skip, 2))), skip], 1)))


class Translator(nn.Module):
    """A GRU reads, a GRU cell with attention writes."""

    def __init__(self):
        super().__init__()
        self.source, self.target = nn.Embedding(30, 16), nn.Embedding(30, 16)
        self.encoder = nn.GRU(16, 12, batch_first=True, bidirectional=True)
        self.cell = nn.GRUCell(16 + 24, 24)
        self.query, self.key, self.energy = nn.Linear(24, 10), nn.Linear(24, 10), nn.Linear(10, 1)
        self.out = nn.Linear(48, 30)

    def forward(self, source, target):
        read, _ = self.encoder(self.source(source))
        keys, state, written = self.key(read), read.mean(1), []
        for step in target.unbind(1):
            share = self.energy(torch.tanh(self.query(state)[:, None] + keys)).softmax(1)
            context = (share * read).sum(1)
            state = self.cell(torch.cat([self.target(step), context], -1), state)
            written.append(self.out(torch.cat([state, context], -1)))
        return torch.stack(written, 1)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.deep = conv(3, 16, stride=2), conv(16, 32, stride=2)
        self.lateral = nn.ModuleList([nn.Conv2d(16, 16, 1), nn.Conv2d(32, 16, 1)])
        self.tower = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU())
        self.classes, self.boxes = nn.Conv2d(16, 15, 3, padding=1), nn.Conv2d(16, 12, 3, padding=1)

    def forward(self, x):
        near = self.stem(x)
        far = self.lateral[1](self.deep(near))
        near = self.lateral[0](near) + F.interpolate(far, size=near.shape[-2:])
        towers = [self.tower(level) for level in (near, far)]
        found = {"classes": [self.classes(t) for t in towers], "boxes": [self.boxes(t) for t in towers]}
        return {k: torch.cat([level.flatten(2) for level in v], 2) for k, v in found.items()}


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(conv(3, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 12))
        self.head = nn.Linear(24, 1)

    def forward(self, a, b):
        a, b = self.net(a), self.net(b)
        return self.head(torch.cat([(a - b).abs(), a * b], 1)), F.cosine_similarity(a, b)


class Parametrized(nn.Module):
    def __init__(self):
        super().__init__()
        given = nn.utils.parametrizations
        self.a = given.weight_norm(nn.Conv2d(3, 16, 3, padding=1))
        self.b = given.spectral_norm(nn.Conv2d(16, 24, 3, padding=1))
        self.c = nn.Conv2d(24, 5, 1)

    def forward(self, x):
        return self.c(F.relu(self.b(F.relu(self.a(x))))).mean((2, 3))


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.router, self.out = nn.Linear(8, 16), nn.Linear(16, 4), nn.Linear(16, 3)
        self.up, self.bias = nn.Parameter(torch.randn(4, 16, 32) * 0.2), nn.Parameter(torch.randn(4, 32))
        self.down = nn.Parameter(torch.randn(4, 32, 16) * 0.2)

    def forward(self, x):
        x = self.stem(x)
        hidden = F.gelu(torch.einsum("btd,edh->bteh", x, self.up) + self.bias)
        each = torch.einsum("bteh,ehd->bted", hidden, self.down)
        return self.out(x + torch.einsum("bted,bte->btd", each, self.router(x).softmax(-1)))


class Hyper(nn.Module):
    """The weight of a convolution comes from a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(20, 5, 1)
        self.z, self.make = nn.Parameter(torch.randn(6)), nn.Linear(6, 20 * 12 * 9)

    def forward(self, x):
        weight = self.make(self.z).view(20, 12, 3, 3)
        return self.head(F.relu(F.conv2d(F.relu(self.stem(x)), weight, padding=1))).mean((2, 3))


class Fourier(nn.Module):
    """Filters each channel over places with complex weights; then mixes channels, which freezes them."""

    def __init__(self):
        super().__init__()
        self.stem, self.filters = nn.Linear(6, 16), nn.Parameter(torch.randn(8, 5, 16, 2) * 0.2)
        self.up, self.down, self.out = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 3)

    def forward(self, x):
        x = self.stem(x)
        y = torch.fft.rfft2(x, dim=(1, 2)) * torch.view_as_complex(self.filters)
        x = x + torch.fft.irfft2(y, s=(8, 8), dim=(1, 2))
        z = torch.fft.fft(self.down(F.relu(self.up(x))), dim=-1)
        return self.out(z.real + z.abs()).mean((1, 2))


class Shuffled(nn.Module):
    """Halves go through two branches and are shuffled, as in ShuffleNet v2."""

    def __init__(self):
        super().__init__()
        self.stem, self.out = nn.Conv2d(3, 32, 3, padding=1), nn.Linear(32, 5)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(16, 16), nn.Conv2d(16, 16, 3, padding=1, groups=16), conv(16, 16))
            for _ in range(3)
        )

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            left, right = x.chunk(2, 1)
            x = torch.cat([left, block(right)], 1)
            x = x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
        return self.out(x.mean((2, 3)))


class Narrowed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(F.relu(self.a(x)).narrow(1, 4, 8))


def tokens(*shape):
    return torch.arange(60).reshape(-1)[: shape[0] * shape[1]].view(shape) % 30


NETWORKS = {  # with the fraction of the parameters that is left at most
    UNet: (torch.randn(2, 3, 16, 16), 0.3),
    Translator: ((tokens(3, 10), tokens(3, 4)), 0.45),
    Detector: (torch.randn(2, 3, 32, 32), 0.35),
    Siamese: ((torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)), 0.5),
    Parametrized: (torch.randn(2, 3, 8, 8), 0.4),
    Experts: (torch.randn(2, 7, 8), 0.35),
    Hyper: (torch.randn(2, 3, 8, 8), 0.35),
    Fourier: (torch.randn(2, 8, 8, 6), 0.6),
    Shuffled: (torch.randn(2, 3, 8, 8), 0.4),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_half_goes_and_comes_back_from_a_file(network, tmp_path):
    inputs, left = NETWORKS[network]
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    torch.manual_seed(0)
    model = network().eval()
    whole = [tuple(t.shape) for t in tree_leaves(model(*args))]
    small, surgery = prune_structured(model, inputs, keep=0.5, scope="group")
    assert surgery.difference < 1e-4
    assert surgery.params[1] < left * surgery.params[0]
    outputs = tree_leaves(small.eval()(*args))
    assert [tuple(t.shape) for t in outputs] == whole
    save(small, tmp_path / "small.safetensors")
    loaded = load(tmp_path / "small.safetensors", into=network().eval())
    for output, again in zip(outputs, tree_leaves(loaded.eval()(*args)), strict=True):
        torch.testing.assert_close(output, again)


def test_what_mixes_all_channels_is_frozen():
    torch.manual_seed(0)
    _, surgery = prune_structured(Fourier().eval(), NETWORKS[Fourier][0], keep=0.5, scope="group")
    (frozen,) = (f for f in surgery.frozen if f.place.tensor == "down.weight" and f.place.dim == 0)
    assert any("transformed as a whole" in str(why) for why in frozen.reasons)


def test_a_cut_that_does_not_run_is_refused_in_words(monkeypatch):
    monkeypatch.delitem(adjustments._entries, "aten.narrow.default")
    torch.manual_seed(0)
    model = Narrowed().eval()
    with pytest.raises(SurgeryError, match="does not run"):
        prune_structured(model, torch.randn(2, 6), keep=0.5, scope="group")
    assert model.a.out_features == 16 == len(model.a.weight)
