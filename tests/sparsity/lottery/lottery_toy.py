"""A problem that trains in milliseconds, importable by name: worker processes and killed ones import it too.

Its network has batch norm and dropout and its batches are shuffled, so that a rewind that forgets one shows.
"""

import os
import signal
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw

LEFT = "BATCHES_LEFT"  # environment: after so many training batches the process is killed


def net():
    first = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2)
    return nn.Sequential(*first, nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))


@dataclass(frozen=True)
class Net:
    """The same as a frozen dataclass."""

    width: int = 16

    def __call__(self):
        return nn.Sequential(nn.Linear(8, self.width), nn.ReLU(), nn.Linear(self.width, 3))


def seeded():
    torch.manual_seed(3)
    return net()


class Counted(list):
    """Batches that count how often they are read."""

    reads = 0

    def __iter__(self):
        self.reads += 1
        return super().__iter__()


class Deadly(TensorDataset):
    """Examples that kill their process, as a power cut would, once the batches are used up."""

    def __getitems__(self, indices):
        left = int(os.environ.get(LEFT, "-1"))
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if left > 0:
            os.environ[LEFT] = str(left - 1)
        return [self[index] for index in indices]


class Failing(list):
    """Batches that fail as a data set of the user's own may."""

    def __iter__(self):
        raise ZeroDivisionError("of the user's own")


def examples():
    inputs = torch.randn(128, 8, generator=torch.Generator().manual_seed(1))
    return inputs, inputs[:, :3].argmax(1)


def data():
    inputs, targets = examples()
    train = DataLoader(Deadly(inputs[:80], targets[:80]), 16, shuffle=True)
    return train, [(inputs[80:112], targets[80:112])], Counted([(inputs[112:], targets[112:])])


def broken():
    train, validate, test = data()
    return Failing(train), validate, test


def settings(**changes):
    return fw.TrainingSettings(**{"epochs": 3, "learning_rate": 0.1, "precision": "fp32"} | changes)


def experiment(training=None, **changes):
    asked = {"network": net, "data": data, "levels": 2, "seeds": (0,)} | changes
    return fw.lottery.Experiment(**asked, settings=settings(**training or {}))


def main(folder, workers=1, **changes):
    """What killed processes run."""
    fw.lottery.run(experiment(**changes), folder, workers=workers, progress=False)
