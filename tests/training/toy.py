"""A tiny problem that trains in milliseconds, and the script that tests start in processes of its own.

Its data and its network both draw random numbers, so that a resumed run that is off by one draw shows.
"""

import argparse
import hashlib
import json
import os
import signal
import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from featherweight.training import TrainingSettings, fit


class Examples(Dataset):
    """Three separable classes; noise is drawn anew for each example, from torch's global generator."""

    def __init__(self, count, noise=0.0, start=0):
        rng = torch.Generator().manual_seed(1)
        self.inputs = torch.randn(start + count, 8, generator=rng)[start:]
        self.targets = self.inputs[:, :3].argmax(1)
        self.noise, self.epochs = noise, []

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        noise = torch.randn(8) * self.noise if self.noise else 0
        return self.inputs[index] + noise, self.targets[index]

    def set_epoch(self, epoch):
        self.epochs.append(epoch)


class Net(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Linear(8, 16), nn.LayerNorm(16)
        self.dropout, self.last = nn.Dropout(dropout), nn.Linear(16, 3)

    def forward(self, x):
        return self.last(self.dropout(F.relu(self.norm(self.first(x)))))


class ZeroSmallest:
    """An Attachment: after step ``begin`` the smallest half of the first layer is zero, chosen once."""

    def __init__(self, model, begin=4):
        self.weight, self.begin = model.first.weight, begin
        self.step, self.keep, self.planned, self.handle = 0, torch.ones_like(model.first.weight), None, None

    @property
    def ready(self):
        return self.step >= self.begin

    @property
    def sparsity(self):
        return 1 - float(self.keep.mean())

    def plan(self, total_steps):
        self.planned = total_steps

    def fingerprint(self):
        return f"ZeroSmallest({self.begin})"

    def attach(self, optimizer):
        self.handle = optimizer.register_step_post_hook(lambda *_: self.after_step())

    def detach(self):
        if self.handle:
            self.handle.remove()
            self.handle = None

    @torch.no_grad()
    def after_step(self):
        self.step += 1
        if self.step == self.begin:
            size = self.weight.abs().flatten()
            self.keep = (self.weight.abs() > size.kthvalue(size.numel() // 2).values).float()
        self.weight.mul_(self.keep)

    def state_dict(self):
        return {"step": self.step, "keep": self.keep.clone()}

    def load_state_dict(self, state):
        self.step, self.keep = state["step"], state["keep"]
        with torch.no_grad():
            self.weight.mul_(self.keep)


class Copying(nn.Module):
    """A Guidance: a learnt view of the outputs is to be a teacher's, and the outputs to leave their mean."""

    def __init__(self, seed=5):
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.view = nn.Linear(3, 3)
        with torch.no_grad():
            self.view.weight.copy_(torch.randn(3, 3, generator=rng))
            self.view.bias.zero_()
        self.register_buffer("mean", torch.zeros(3))
        self.teacher = [Net().eval()]  # in a list: no part of it
        self.progress, self.heard = 0.0, []

    def set_progress(self, fraction):
        self.progress = fraction
        self.heard.append(fraction)

    def fingerprint(self):
        return "Copying"

    def loss(self, outputs, batch):
        inputs = batch if isinstance(batch, torch.Tensor) else batch[0]
        with torch.no_grad():
            goal = 3 * self.teacher[0](inputs)
            away = (outputs - self.mean).square().mean(1)
            self.mean.lerp_(outputs.mean(0), 0.1)
        return F.mse_loss(self.view(outputs), goal) + (1 + self.progress) * away.mean() * outputs.exp().mean()


class Copied(Copying):
    """One without the mean, which is that of each process."""

    def loss(self, outputs, batch):
        with torch.no_grad():
            goal = 3 * self.teacher[0](batch[0])
        return 0.05 * F.mse_loss(self.view(outputs), goal)


def loaders(batch=16, noise=0.0):
    train = DataLoader(Examples(96, noise), batch, shuffle=True)
    return train, DataLoader(Examples(37, start=96), 10)


def trap(step, action):
    """A cross-entropy that does ``action`` in its call number ``step``, before the gradient is computed."""
    calls = 0

    def loss(outputs, targets):
        nonlocal calls
        calls += 1
        if calls == step:
            action()
        return F.cross_entropy(outputs, targets)

    return loss


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def crash():
    raise OSError("the machine went away")


def digest(model):
    total = hashlib.sha256()
    for name, value in model.state_dict().items():
        total.update(name.encode() + value.contiguous().numpy().tobytes())
    return total.hexdigest()


def metrics(run_dir):
    """The lines of metrics.jsonl without the seconds."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def train_once(given):
    model = Net(dropout=0.3 if given.random else 0.0)
    train, validate = loaders(given.batch, noise=0.3 if given.random else 0.0)
    guidance = Copied(seed=5 + int(os.environ.get("RANK", "0"))) if given.guided else None
    loss = trap(given.kill_at, kill) if given.kill_at else trap(given.crash_at, crash)
    every = 2 if given.run_dir else None
    settings = TrainingSettings(epochs=3, learning_rate=0.3, precision="fp32", checkpoint_every=every)
    history = fit(
        model, train, validate, settings,
        loss=None if guidance else loss,
        pruner=ZeroSmallest(model),
        guidance=guidance,
        run_dir=given.run_dir,
    )  # fmt: skip
    return model, history, guidance


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--run-dir")
    parser.add_argument("--out")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--random", action="store_true", help="with noise and dropout")
    parser.add_argument("--guided", action="store_true", help="by a loss with parameters")
    parser.add_argument("--kill-at", type=int, default=0)
    parser.add_argument("--crash-at", type=int, default=0, help="then go on from the checkpoint")
    given = parser.parse_args(arguments)
    try:
        model, history, guidance = train_once(given)
    except OSError:
        given.crash_at = 0
        model, history, guidance = train_once(given)
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:  # a reducer left on the model would wait here for the other process
        model(torch.ones(1, 8)).sum().backward()
    if given.out:
        result = {
            "digest": digest(model),
            "losses": [record.train_loss for record in history.epochs],
            "validation": [record.validation for record in history.epochs],
            "steps": [record.step for record in history.epochs],
            "resumed_from": history.resumed_from,
            "view": guidance and guidance.view.weight.tolist(),
            "weights": model.first.weight.tolist(),
        }
        with open(f"{given.out}.{rank}", "w") as file:
            json.dump(result, file)


if __name__ == "__main__":
    main(sys.argv[1:])
