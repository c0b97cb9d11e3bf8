"""Small networks and data to prune in one shot."""

import copy
import functools
import math

import torch
from torch import nn
from torch.nn import functional as F

from featherweight.sparsity.oneshot import prune_oneshot


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, groups=4, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 2, 2),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.Linear(32, 4),
    )


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True), 2, enable_nested_tensor=False
        )
        self.cross = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.inner(x)
        return self.head(self.cross(x[:, :2], x, x)[0].mean(1))


NETWORKS = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)),
        (12,),
    ),
    "convolutional": (convolutional, (2, 8, 8)),
    "attention": (Attention, (6, 16)),
}


def data_of(shape, batches=4, size=64):
    """Few causes, many inputs: as real data are."""
    generator = torch.Generator().manual_seed(1)
    causes = torch.randn(batches * size, 6, generator=generator)
    patterns = torch.randn(6, math.prod(shape), generator=generator)
    x = causes @ patterns + 0.2 * torch.randn(batches * size, math.prod(shape), generator=generator)
    y = (causes[:, 0] > 0).long() + 2 * (causes[:, 1] * causes[:, 2] > 0).long()
    x = x.view(-1, *shape) / 2
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def trained(name, steps=80):
    """Return a network of one's own, and data of one's own."""
    return copy.deepcopy(_trained(name, steps))


@functools.cache
def _trained(name, steps):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    model, data = make(), data_of(shape)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(steps):
        x, y = data[step % len(data)]
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval(), data


def loss_of(model, data):
    with torch.no_grad():
        return sum(float(F.cross_entropy(model(x), y)) for x, y in data) / len(data)


def quietly(model, sparsity, data, **settings):
    return prune_oneshot(model, sparsity, data, progress=False, **settings)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in b)
