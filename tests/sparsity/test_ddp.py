"""Masks are the same in every process and hold under DistributedDataParallel (two processes, gloo)."""

import pytest
from tests.sparsity.two_processes import run_in_two

# At the end the processes wait for each other and leave at once: gloo's threads can outlive Python's own end,
# and abort the process then.

SCRIPT = """
import os
import torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from featherweight.sparsity import Pruner
from featherweight.sparsity.schedules import ACDC, SET, Cubic, RigL

dist.init_process_group("gloo")
torch.manual_seed(0)
model = DistributedDataParallel(nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4)))
optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)
runs = [
    ("magnitude", "unstructured", Cubic(begin=0, end=4, every=2)),
    ("random", "unstructured", Cubic(begin=0, end=4, every=2)),
    ("movement", "unstructured", Cubic(begin=1, end=4, every=2)),
]
moving = [SET(begin=0, end=6, every=2), RigL(begin=0, end=6, every=2), ACDC(begin=1, end=6, every=2)]
runs += [("random", pattern, schedule) for pattern in ("unstructured", "2:4") for schedule in moving]
for criterion, pattern, schedule in runs:
    model = DistributedDataParallel(nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4)))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)
    pruner = Pruner(model, 0.9 if criterion == "random" else 0.8, criterion=criterion, pattern=pattern,
                    schedule=schedule)
    pruner.attach(optimizer)
    first = {name: mask.keep.clone() for name, mask in pruner.masks.items()}
    for step in range(7):
        optimizer.zero_grad()
        model(torch.randn(8, 12) + dist.get_rank()).square().mean().backward()
        optimizer.step()
        pruner.masks.check(model)
    pruner.detach()
    for name, mask in pruner.masks.items():
        both = [torch.empty_like(mask.keep, dtype=torch.uint8) for _ in range(2)]
        dist.all_gather(both, mask.keep.to(torch.uint8))
        assert torch.equal(*both), (criterion, schedule, name)
        assert "module" not in name
    for parameter in model.parameters():
        both = [torch.empty_like(parameter) for _ in range(2)]
        dist.all_gather(both, parameter.detach())
        assert torch.equal(*both), (criterion, schedule)
    assert pruner.masks.kept == round((1 - pruner.recipe.sparsity) * 256)
    assert any(not torch.equal(first[name], mask.keep) for name, mask in pruner.masks.items())
print("rank", dist.get_rank(), "ok", flush=True)
dist.barrier()
os._exit(0)
"""


@pytest.mark.slow
def test_two_processes(tmp_path):
    run_in_two(tmp_path, SCRIPT)
