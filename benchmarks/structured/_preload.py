"""Imported once by the process that trials are forked from: what takes seconds to import, and no network."""

from __future__ import annotations

import importlib

import torch
from benchmarks.structured.networks import use_peers
from torch import nn

use_peers()
for _name in ("timm", "transformers", "torch_pruning", "benchmarks.structured.trial"):
    importlib.import_module(_name)
torch.set_num_threads(1)
torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))  # which imports the rest of itself
