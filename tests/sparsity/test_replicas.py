"""Masks of the first process are those of all, whatever each one's data say (two processes, gloo)."""

import pytest
import torch
from tests.sparsity.two_processes import run_in_two
from torch import nn

from featherweight.core.prunable import find_prunable
from featherweight.sparsity import Masks
from featherweight.sparsity.replicas import Replicas

# At the end the processes wait for each other and leave at once, as in test_ddp.py.

SCRIPT = """
import os
import torch, torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from featherweight.sparsity import Pruner, prune
from featherweight.sparsity.oneshot import prune_oneshot
from featherweight.sparsity.schedules import SET, Cubic, RigL

dist.init_process_group("gloo")
rank = dist.get_rank()
rng = torch.Generator().manual_seed(rank)
data = [(torch.randn(16, 12, generator=rng), torch.randint(0, 4, (16,), generator=rng)) for _ in range(4)]

def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))

def same(tensors):
    mine = torch.cat([tensor.detach().flatten().float() for tensor in tensors])
    both = [torch.empty_like(mine) for _ in range(2)]
    dist.all_gather(both, mine)
    return torch.equal(*both)

def keeps(masks):
    return [mask.keep for mask in masks.values()]

def drawn(weights, context):  # of each process's own random numbers
    return {name: torch.rand(weight.shape, generator=rng) for name, weight in weights.items()}

def local(net, **settings):
    recipe = Pruner(net, 0.8, data=data, **settings).recipe
    return keeps(recipe.masks(net, Pruner(net).prunable, 0.8, data=data))

def check_pruner(given_wrapped, schedule, **settings):
    net = network()
    assert not same(local(net, **settings)), "the processes agree by themselves: nothing is tested"
    model = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    pruner = Pruner(model if given_wrapped else net, 0.8, schedule=schedule, data=data, **settings)
    pruner.attach(optimizer)
    for step in range(6):
        optimizer.zero_grad()
        x, y = data[step % 4]
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        pruner.masks.check(net)
        assert same(keeps(pruner.masks)), (settings, step)
        assert same(net.parameters()), (settings, step)
    assert pruner.masks.kept == round(0.2 * 256)

cubic = Cubic(begin=0, end=4, every=2)
for given_wrapped in (True, False):
    check_pruner(given_wrapped, cubic, criterion="taylor")
    check_pruner(given_wrapped, RigL(begin=0, end=6, every=2), criterion="taylor", pattern="2:4")
    check_pruner(given_wrapped, SET(begin=0, end=6, every=2), criterion=drawn)
check_pruner(True, cubic, allocation="sensitivity")

apart = network(seed=rank)
pruner = Pruner(apart, 0.8, criterion="taylor", schedule="one_shot", data=data)
pruner.attach(torch.optim.SGD(apart.parameters(), 0.1))
assert not same(keeps(pruner.masks)), "networks that are no copies go by themselves"

model = DistributedDataParallel(network())
assert same(keeps(prune(model, 0.8, criterion="taylor", data=data)))
assert same(model.parameters())
assert not same(keeps(prune(network(), 0.8, criterion="taylor", data=data)))

normed = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
model = DistributedDataParallel(normed)
masks = prune_oneshot(model, 0.8, data, progress=False)
assert same(keeps(masks)) and same(model.parameters()) and same(model.buffers())
masks.check(model)
assert masks.kept == round(0.2 * 256)
assert not same(keeps(prune_oneshot(network(), 0.8, data, progress=False)))
print("rank", rank, "ok", flush=True)
dist.barrier()
os._exit(0)
"""


@pytest.mark.slow
def test_two_processes_with_different_data(tmp_path):
    run_in_two(tmp_path, SCRIPT)


def test_in_one_process_there_is_nothing_to_share():
    model = nn.Linear(4, 4)
    torch.nn.init.zeros_(model.weight)
    replicas, masks = Replicas.of(model, find_prunable(model)), Masks.from_zeros(model)
    assert replicas.group is None
    assert replicas.shared(masks) is masks
    assert Replicas.of_wrapper(torch.compile(model, backend="eager")).group is None
