"""A teacher that is a function of the batch, data for it, and a cache of both."""

import os
import signal

import torch
from torch.utils.data import DataLoader, Dataset

from featherweight.distillation.cache import Identity, Teaching, fill
from featherweight.distillation.losses import Heads, View

N = 37


class Vectors(Dataset):
    """N examples of 6 numbers; those of index n and n + 30 are equal. A copy an epoch, or noise, if asked."""

    def __init__(self, count=N, noise=0.0, copies=False):
        self.x = torch.randn(30, 6, generator=torch.Generator().manual_seed(1)).repeat(2, 1)[:count]
        self.noise, self.copies, self.epoch, self.taken = noise, copies, 0, []
        if copies:
            self.set_epoch = lambda epoch: setattr(self, "epoch", epoch)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.taken.append(index)
        return self.x[index] + self.epoch + self.noise * torch.randn(6), index % 3


class Function:
    """A teacher: logits, a map and attention of each example; counts its calls."""

    def __init__(self, scale=1.0, taps=("a", "b"), stop_at=None, action=None):
        self.calls, self.scale, self.stop_at, self.action = 0, scale, stop_at, action
        self.identity = Identity(f"teacher {scale}", taps)

    def view(self, x):
        logits = x[:, :4] * self.scale
        heads = Heads(x.view(-1, 1, 3, 2), -x.view(-1, 1, 3, 2), x.view(-1, 1, 3, 2) ** 2)
        return View(logits, (x.view(-1, 2, 3, 1).relu(), logits), (heads,))

    def views(self, batch):
        self.calls += 1
        if self.calls == self.stop_at:
            self.action()
        return [self.view(batch[0])]

    @property
    def teaching(self):
        return Teaching(self.identity, lambda batch: batch[0], self.views)


def crash():
    raise OSError("the machine went away")


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def filled(folder, data=None, teacher=None, batch=8, **settings):
    loader = DataLoader(Vectors() if data is None else data, batch, shuffle=True, drop_last=True)
    return fill((teacher or Function()).teaching, loader, folder, progress=False, **settings)


def assert_same(view, wanted, **tolerance):
    pairs = [(view.logits, wanted.logits), *zip(view.features, wanted.features, strict=True)]
    for a, b in zip(view.attention, wanted.attention, strict=True):
        pairs += [(a.query, b.query), (a.key, b.key), (a.value, b.value)]
    for got, want in pairs:
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want, **tolerance)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
