"""Masks are the same in every process and hold under DistributedDataParallel (two processes, gloo)."""

import subprocess
import sys

import pytest

# At the end the processes wait for each other and leave at once: gloo's threads can outlive Python's own end,
# and abort the process then.
SCRIPT = """
import os
import torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from featherweight.sparsity import Pruner
from featherweight.sparsity.schedules import Cubic

dist.init_process_group("gloo")
torch.manual_seed(0)
model = DistributedDataParallel(nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4)))
optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)
for criterion in ("magnitude", "random"):
    pruner = Pruner(model, 0.8 if criterion == "magnitude" else 0.9, criterion=criterion,
                    schedule=Cubic(begin=0, end=4, every=2))
    pruner.attach(optimizer)
    for step in range(6):
        optimizer.zero_grad()
        model(torch.randn(8, 12) + dist.get_rank()).square().mean().backward()
        optimizer.step()
        pruner.masks.check(model)
    pruner.detach()
    for name, mask in pruner.masks.items():
        both = [torch.empty_like(mask.keep, dtype=torch.uint8) for _ in range(2)]
        dist.all_gather(both, mask.keep.to(torch.uint8))
        assert torch.equal(*both), (criterion, name)
        assert "module" not in name
    assert pruner.masks.kept == round((1 - pruner.recipe.sparsity) * 256)
print("rank", dist.get_rank(), "ok", flush=True)
dist.barrier()
os._exit(0)
"""


@pytest.mark.slow
def test_two_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run([*launch, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("ok") == 2
