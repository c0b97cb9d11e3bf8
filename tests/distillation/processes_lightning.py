"""The script that test_lightning_parallel starts in two processes: Lightning's Trainer with the callback."""

import json
import os
import sys
import tempfile
import warnings

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning

from featherweight.distillation.adapters.lightning import DistillationCallback

RANK = int(os.environ.get("RANK", "0"))


def net(width, seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net(8, 0)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1], label_smoothing=0.1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), 0.1, momentum=0.9)


class Noted(DistillationCallback):
    """Gives the second process other projectors, and keeps losses and the last projectors."""

    def setup(self, trainer, pl_module, stage):
        super().setup(trainer, pl_module, stage)
        self.losses, self.first = [], flat(self.distiller)
        with torch.no_grad():
            for parameter in self.distiller.parameters():
                parameter.add_(RANK)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))

    def on_train_end(self, trainer, pl_module):
        self.last = flat(self.distiller)


def flat(network):
    return [value for parameter in network.parameters() for value in parameter.flatten().tolist()]


def trained(devices, batch, *, loss, alpha, **more):
    """Train, and return losses and weights."""
    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    data = TensorDataset(inputs, inputs[:, :3].argmax(1))
    order = DistributedSampler(data, devices, RANK, shuffle=False)  # Lightning's own shuffles
    loader = DataLoader(data, batch, sampler=order)
    module = Module()
    noted = Noted(
        net(16, 1),
        next(iter(loader)),
        student="net",
        loss=loss,
        alpha=alpha,
        features=[("0", "0")],
        precision="fp32",
    )
    usual = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    usual |= {"accelerator": "cpu", "enable_checkpointing": False, "max_epochs": 2}
    usual |= {"use_distributed_sampler": False}
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            devices=devices, callbacks=[noted], default_root_dir=folder, **usual | more
        )
        trainer.fit(module, loader)
    return {
        "processes": trainer.world_size,
        "losses": noted.losses,
        "student": flat(module.net),
        "projectors": noted.last,
        "projectors at first": noted.first,
    }


def runs(devices, batch, **more):
    """Return three runs: both parts of the loss, in half batches too, and features alone."""
    return {
        "hints": trained(devices, batch, loss="kd + hints", alpha=0.5, **more),
        "half batches": trained(
            devices, batch // 2, loss="kd + hints", alpha=0.5, accumulate_grad_batches=2, **more
        ),
        "features alone": trained(devices, batch, loss="hints", alpha=1.0, **more),
    }


if __name__ == "__main__":
    result = runs(2, 4, strategy="ddp")
    with open(f"{sys.argv[1]}.{RANK}", "w") as file:
        json.dump(result, file)
    torch.distributed.barrier()
    os._exit(0)  # gloo's threads can outlive Python's own end, and abort the process then
