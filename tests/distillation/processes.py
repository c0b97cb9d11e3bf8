"""The script that test_parallel starts in two processes: fit, and a loop of one's own over shards.

Networks without batch norm, whose statistics are those of each process.
"""

import json
import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from featherweight.distillation import Distiller
from featherweight.training import TrainingSettings, fit


def net(width, seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, 3))


def data(count=64):
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, inputs[:, :3].argmax(1))


def fitted(batch):
    student = net(8, 0)
    loader = DataLoader(data(), batch, shuffle=True)
    settings = TrainingSettings(epochs=2, learning_rate=0.2, precision="fp32", clip=5.0)
    with Distiller(net(16, 7), student, next(iter(loader)), precision="fp32") as distiller:
        history = fit(student, loader, None, settings, guidance=distiller, progress=False)
    return [record.train_loss for record in history.epochs], student[0].weight.tolist()


def in_a_loop(ranks, rank, shard):
    """Training by hand: each process takes its part of every batch of 16."""
    student = net(8, 0)
    if shard:
        shard(student)
    examples, losses = data()[:], []
    distiller = Distiller(net(16, 7), student, [part[:4] for part in examples], precision="fp32")
    optimizer = torch.optim.SGD([*student.parameters(), *distiller.parameters()], 0.2, momentum=0.9)
    for step, start in enumerate(range(0, 64, 16)):
        distiller.set_progress(step / 4)
        mine = [part[start : start + 16][rank::ranks] for part in examples]
        loss = distiller(mine)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.detach().clone()
        if ranks > 1:
            dist.all_reduce(value)
        losses.append(float(value) / ranks)
    distiller.close()
    return losses


def main(out):
    from torch.distributed.fsdp import fully_shard

    rank = int(os.environ["RANK"])
    result = {"fit": fitted(batch=8)}  # joins the processes

    def shard(student):
        fully_shard(student[0])
        fully_shard(student)

    result["loop"] = in_a_loop(2, rank, shard)
    with open(f"{out}.{rank}", "w") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main(sys.argv[1])
