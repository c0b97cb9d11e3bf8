"""The compact file, loaded by a process that has seen nothing else, must predict the same, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from featherweight.artifact import replacing
from featherweight.cli.reload import BATCH, logits_of


def write_predictions(model: nn.Module, images: Tensor, path: Path) -> None:
    """Save ``images`` (n, channels, height, width) with the logits (n, classes) of ``model`` for them."""
    tensors = {"images": images.contiguous(), "logits": logits_of(model, images)}
    about = {"threads": str(torch.get_num_threads()), "batch": str(BATCH)}
    with replacing(path) as file:
        file.write(save(tensors, metadata=about))


def differs_in_fresh_process(compact: Path, predictions: Path) -> str | None:
    """Load ``compact`` in a fresh process; return how its predictions differ, None where they do not."""
    command = [sys.executable, "-m", "featherweight.cli.reload", str(compact), str(predictions)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        return None
    said = (ran.stdout.strip() or ran.stderr.strip()).splitlines()[-1:]
    return said[0] if said else f"the process ended with exit code {ran.returncode}"
