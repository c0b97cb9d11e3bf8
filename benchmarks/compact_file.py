"""Bytes on disk of pruned networks against dense safetensors files, and how fast they are written and read.

``fashion_cnn`` and its like are trained. The weights of the others are drawn: Laplace of He's scale
(heavier-tailed than trained weights usually are, so harder to code), norms with spread statistics. torch's
own initial weights are uniform, and what is left of those after magnitude pruning spans so few exponents
that it would flatter. ``--weights FILE`` measures a trained state dict instead (safetensors, or a .pth of
plain tensors). "Over limit" is the index on disk against the sum over tensors of log2 C(n, k) / 8 bytes.
MB/s are of the dense fp32 bytes, page cache warm.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from benchmarks._machine import machine
from torch import nn

import featherweight as fw
from featherweight import artifact
from featherweight.zoo import build, trained_names

TARGETS = {"fp32": 8.3, "fp16": 18.0}  # times smaller than the dense fp32 file at 90%
INDEX_TARGET = 1.05  # times the entropy limit
NETWORKS: dict[str, dict[str, int]] = {
    "small_cnn": {},
    "resnet20": {},
    "resnet50": {"in_channels": 3, "classes": 1000},
}


def draw(model: nn.Module, seed: int) -> nn.Module:
    """Fill a network with weights as the head of this file says."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        uniform = torch.rand(tensor.shape, generator=generator) - 0.5
        if tensor.dim() > 1:
            scale = (tensor.numel() / tensor.shape[0]) ** -0.5
            tensor.copy_(-scale * uniform.sign() * torch.log1p(-2 * uniform.abs().clamp(max=0.49999997)))
        elif tensor.is_floating_point():
            normal = torch.randn(tensor.shape, generator=generator)
            tensor.copy_((0.7 * normal).exp() if name.endswith(("running_var", "weight")) else normal * 0.3)
        else:
            tensor.fill_(4690)
    return model


def pruned_state(name: str, arguments: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Return the state dict of a network, pruned by global or uniform magnitude."""
    if arguments.weights:
        return prune_state(load_state(arguments.weights), arguments.sparsity)
    drawn = name in NETWORKS
    model = draw(build(name, **NETWORKS[name]), arguments.seed) if drawn else fw.load_model(name)
    fw.prune(model, arguments.sparsity, allocation=arguments.allocation)
    return model.state_dict()


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """Load a state dict from safetensors, or from a .pth that holds nothing but tensors."""
    if path.suffix in (".pt", ".pth"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        return dict(state.get("state_dict", state.get("model", state)))
    return fw.load(path)


def prune_state(state: dict[str, torch.Tensor], sparsity: float) -> dict[str, torch.Tensor]:
    """Zero the smallest weights of two and more dimensions, globally."""
    weights = {name: tensor.float().clone() for name, tensor in state.items() if tensor.dim() > 1}
    magnitudes = torch.cat([tensor.abs().flatten() for tensor in weights.values()])
    threshold = magnitudes.kthvalue(round(sparsity * magnitudes.numel())).values
    for tensor in weights.values():
        tensor[tensor.abs() <= threshold] = 0
    return {name: weights.get(name, tensor) for name, tensor in state.items()}


def measure(name: str, values: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return one row: sizes, and speeds as (median, least, most) of ``--repeats`` runs."""
    state = pruned_state(name, arguments)
    dense, path = folder / "dense.safetensors", folder / "compact.safetensors"
    safetensors.torch.save_file({key: tensor.contiguous() for key, tensor in state.items()}, dense)
    report = fw.save(state, path, values=values)
    megabytes = dense.stat().st_size / 1e6
    return {
        "network": arguments.weights.name if arguments.weights else name,
        "values": values,
        "elements": report.elements,
        "sparsity": arguments.sparsity,
        "allocation": "global" if arguments.weights else arguments.allocation,
        "dense_bytes": dense.stat().st_size,
        "file_bytes": path.stat().st_size,
        "ratio": dense.stat().st_size / path.stat().st_size,
        "index_bytes": report.index_bytes,
        "index_over_limit": report.index_bytes / report.index_limit_bytes,
        "manifest_bytes": report.manifest_bytes,
        "kept_fp32": len(report.unrounded),
        "write_MB_s": speed(lambda: fw.save(state, path, values=values), megabytes, arguments.repeats),
        "read_MB_s": speed(lambda: artifact.read(path), megabytes, arguments.repeats),
    }


def speed(work: Callable[[], object], megabytes: float, repeats: int) -> tuple[float, float, float]:
    """Return (median, least, most) MB/s of ``repeats`` runs after one that is not counted."""
    work()
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        rates.append(megabytes / (time.perf_counter() - start))
    return statistics.median(rates), min(rates), max(rates)


def missed(row: dict[str, Any]) -> list[str]:
    """Return the targets that a row misses; they hold at 90% sparsity."""
    wrong = []
    if row["ratio"] < TARGETS[row["values"]]:
        wrong.append(
            f"{row['network']} {row['values']}: {row['ratio']:.2f}x, expected {TARGETS[row['values']]}x"
        )
    if row["index_over_limit"] > INDEX_TARGET:
        over = row["index_over_limit"]
        wrong.append(
            f"{row['network']} {row['values']}: index {over:.3f} times its limit, expected {INDEX_TARGET}"
        )
    return wrong


def show(row: dict[str, Any]) -> None:
    """Print a row."""
    write, read = (
        f"{row[key][0]:5.0f} [{row[key][1]:.0f}-{row[key][2]:.0f}]" for key in ("write_MB_s", "read_MB_s")
    )
    print(
        f"{row['network']:<12} {row['values']:<5} {row['allocation']:<8} {row['dense_bytes']:>11,} "
        f"{row['file_bytes']:>10,} {row['ratio']:6.2f}x {row['index_over_limit'] - 1:+8.2%} "
        f"{row['manifest_bytes']:>6,}  {write:>18} {read:>20}",
        flush=True,
    )


def main() -> int:
    """Measure and print; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    names = [*trained_names(), *NETWORKS]
    parser.add_argument("--network", nargs="*", choices=names, default=names)
    parser.add_argument("--weights", type=Path, help="a trained state dict to measure instead")
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--allocation", default="global")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write machine and rows here")
    arguments = parser.parse_args()
    about = machine()
    print("  ".join(f"{key}={value}" for key, value in about.items()))
    print(f"{'':<27} {'dense bytes':>11} {'file':>10} {'ratio':>7} {'over lim':>8} {'manif.':>6}", end="  ")
    print(f"{'write MB/s [range]':>18} {'read MB/s [range]':>20}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ["given"] if arguments.weights else arguments.network:
            for values in TARGETS:
                rows.append(measure(name, values, arguments, Path(folder)))
                show(rows[-1])
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
    wrong = [words for row in rows for words in missed(row)] if arguments.sparsity == 0.9 else []
    print("\n".join(wrong) or "All targets reached.")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
