"""A network, data and pruners whose masks move, for the tests of growth."""

import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.rows import to_rows
from featherweight.sparsity import Pruner
from featherweight.sparsity.schedules import ACDC, SET, RigL

OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=2),
}
SCHEDULES = {
    "set": SET(begin=0, end=14, every=2),
    "rigl": RigL(begin=0, end=14, every=2),
    "acdc": ACDC(begin=2, end=13, every=3),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Tanh(), nn.Conv2d(8, 8, 2), nn.Flatten(), nn.Linear(32, 8)
    )


def batches(count, seed=1):
    rng = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x = torch.randn(16, 4, 5, 5, generator=rng)
        yield x, x.mean((2, 3)).argmax(1)


def train(model, optimizer, data, after=lambda: None):
    for x, y in data:

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
        after()


def started(schedule, sparsity=0.75, optimizer="momentum", **settings):
    model = network()
    optimizer = OPTIMIZERS[optimizer](model.parameters())
    pruner = Pruner(model, sparsity, schedule=schedule, **settings)
    pruner.attach(optimizer)
    return model, optimizer, pruner


def keeps(masks):
    return {name: mask.keep.clone() for name, mask in masks.items()}


def check_shape(pattern, keep, output_dim=0):
    rows = to_rows(keep, output_dim)
    if ":" in pattern:
        n, m = map(int, pattern.split(":"))
        assert int(rows.unflatten(2, (-1, m)).sum(3).max()) <= n
    elif pattern == "per_output":
        counts = rows.flatten(1).sum(1)
        assert int(counts.max() - counts.min()) <= 1
    elif "x" in pattern:
        r, c = map(int, pattern.split("x"))
        blocks = rows.unflatten(2, (-1, c)).sum(3).unflatten(0, (-1, r)).sum(1)
        assert set(blocks.unique().tolist()) <= {0, r * c}
