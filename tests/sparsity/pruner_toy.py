"""A network, optimizers and data for the tests of the Pruner."""

import torch
from torch import nn
from torch.nn import functional as F

OPTIMIZERS = {
    "sgd_momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "adamw_foreach": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, foreach=True),
    "adamw_fused": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
    "lbfgs": lambda p: torch.optim.LBFGS(p, max_iter=2),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))


def batches(count, seed=1):
    rng = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x = torch.randn(16, 12, generator=rng)
        yield x, (x[:, :4].argmax(1))


def train(model, optimizer, data, forward=None, after=lambda: None):
    for x, y in data:

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = F.cross_entropy((forward or model)(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
        after()
