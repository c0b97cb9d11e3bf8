"""Seconds to trace, group and cut ResNet-50, ViT-B/16 and BERT-base to half, beside Torch-Pruning.

    python -m benchmarks.structured.cost --json benchmarks/results/structured_cost.json

The sides take turns (A B A B ...) in one process, each on a fresh network. Ours includes the verification
against the zeroed network, which Torch-Pruning does not do; the parts are timed one by one too. Weights are
new. Needs ``make peers``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from benchmarks._machine import machine
from benchmarks.prune_cost import Timing, alternate, timed
from benchmarks.structured.networks import use_peers
from benchmarks.structured.trial import cut_by_torch_pruning
from torch import nn

import featherweight as fw
from featherweight.core.trace import trace
from featherweight.structured.axes import trace_axes
from featherweight.structured.groups import find_groups
from featherweight.zoo import build

Made = tuple[nn.Module, Any]


def _resnet50() -> Made:
    return build("resnet50", in_channels=3, classes=1000), torch.randn(2, 3, 224, 224)


def _vit() -> Made:
    use_peers()
    import timm

    return timm.create_model("vit_base_patch16_224"), torch.randn(2, 3, 224, 224)


def _bert() -> Made:
    use_peers()
    import transformers

    model: Any = transformers.BertModel(transformers.BertConfig())
    model.config.return_dict = False
    return model, {"input_ids": torch.randint(0, 30_000, (2, 128))}


NETWORKS: dict[str, Callable[[], Made]] = {"ResNet-50": _resnet50, "ViT-B/16": _vit, "BERT-base": _bert}


def ours(make: Callable[[], Made]) -> float:
    """Return the seconds of ``fw.prune_structured``."""
    model, inputs = make()
    return timed(lambda: fw.prune_structured(model.eval(), inputs, keep=0.5, scope="group"))


def theirs(make: Callable[[], Made]) -> float:
    """Return the seconds of Torch-Pruning, dependency graph included."""
    model, inputs = make()
    return timed(lambda: cut_by_torch_pruning(model.eval(), inputs))


def parts(make: Callable[[], Made]) -> dict[str, float]:
    """Return the seconds of tracing and of grouping, on a fresh network."""
    model, inputs = make()
    graphs: list[Any] = []
    seconds = {"trace": timed(lambda: graphs.append(trace(model.eval(), inputs)))}
    tracings: list[Any] = []
    seconds["axes"] = timed(lambda: tracings.append(trace_axes(graphs[0])))
    seconds["groups"] = timed(lambda: find_groups(tracings[0]))
    return seconds


def measure(name: str, repeats: int) -> dict[str, Any]:
    """Time both sides on one network, print and return what they took."""
    make = NETWORKS[name]
    timings = alternate({"featherweight": lambda: ours(make), "torch-pruning": lambda: theirs(make)}, repeats)
    of_ours = parts(make)
    for timing in timings.values():
        print(f"{name:<10} {timing.name:<14} {words(timing)}", flush=True)
    print(f"{'':<10} of ours: " + ", ".join(f"{part} {seconds:.2f} s" for part, seconds in of_ours.items()))
    return {"sides": [asdict(t) for t in timings.values()], "parts": of_ours}


def words(timing: Timing) -> str:
    """Return median and quartiles in seconds."""
    return f"{timing.median:.2f} s [{timing.low:.2f}-{timing.high:.2f}], n={timing.repeats}"


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write machine and timings here")
    args = parser.parse_args()
    about = machine() | {"threads": torch.get_num_threads(), "precision": "fp32"}
    print("  ".join(f"{key}={value}" for key, value in about.items()), flush=True)
    rows = {name: measure(name, args.repeats) for name in args.networks}
    if args.json:
        args.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
