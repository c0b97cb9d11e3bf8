"""Milliseconds of sparse networks: featherweight's runtime beside ONNX Runtime, OpenVINO and PyTorch.

    python -m benchmarks.runtime.speed                                   # everything: hours
    python -m benchmarks.runtime.speed --networks resnet50 --sparsities 0.9 --threads 1 --batches 1
    FEATHERWEIGHT_ISA=avx2 python -m benchmarks.runtime.speed ...    # ours with AVX2; others have none such

The engines take turns (A B A B ...) in one process, in fp32; a turn is a run that does not count and three
that do. Our file is tuned on one thread, and runs on all numbers of them. Needs ``make peers``. Run it alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._machine import machine
from benchmarks.runtime.networks import NETWORKS, SPARSITIES, files_of, input_shape
from benchmarks.structured.networks import PEERS

import featherweight as fw
from featherweight.engines import REST, engines, in_turns

RESULTS = Path(__file__).parents[1] / "results" / "runtime_speed.jsonl"
OTHERS = ("onnxruntime", "openvino", "torch")


@dataclass(frozen=True)
class Case:
    """What is compared; a record has the same fields.

    Attributes:
        network: one of NETWORKS.
        sparsity: of every convolution but the first, and of every linear layer.
        batch: images at a time.
        threads: of each engine.
        isa: what FEATHERWEIGHT_ISA says; "best": nothing.
    """

    network: str
    sparsity: float
    batch: int
    threads: int
    isa: str = field(default_factory=lambda: os.environ.get("FEATHERWEIGHT_ISA", "best"))

    @property
    def paths(self) -> dict[str, Path]:
        """The file that each engine runs; ours is compiled where it is not there."""
        files = files_of(self.network, self.sparsity, self.batch)
        own = files.onnx.with_name(f"{files.onnx.stem}-{self.isa}.fw")
        if not own.exists():
            fw.compile(files.onnx, own, threads=1)
        return {
            "featherweight": own,
            "onnxruntime": files.onnx,
            "openvino": files.onnx,
            "torch": files.program,
        }


def measure(case: Case, seconds: float, others: list[str]) -> dict[str, Any]:
    """Return the record of one comparison."""
    paths = {name: path for name, path in case.paths.items() if name in ("featherweight", *others)}
    image = np.random.default_rng(0).standard_normal(input_shape(case.network, case.batch), np.float32)
    runs = {name: engines[name].load(path, case.threads).run for name, path in paths.items()}
    outputs = {name: np.array(run([image])[0]) for name, run in runs.items()}
    turns = {name: partial(run, [image]) for name, run in runs.items()}
    times = in_turns(turns, seconds=seconds, rest=REST if case.threads > 1 else 0.0)
    own = outputs.pop("featherweight")
    return asdict(case) | {
        "ms": {engine: asdict(spread) for engine, spread in times.items()},
        "difference": {
            engine: float(np.abs(output - own).max() / np.abs(output).max())
            for engine, output in outputs.items()
        },
        "versions": {engine: engines[engine].version() for engine in paths},
    }


def line(record: dict[str, Any]) -> str:
    """Return a record in words."""
    ms = record["ms"]
    about = f"{record['network']:<13} {record['sparsity']:>4.0%} batch {record['batch']:>2} "
    about += f"threads {record['threads']}"
    sides = ", ".join(
        f"{engine} {t['median']:.2f} [{t['low']:.2f}-{t['high']:.2f}]" for engine, t in ms.items()
    )
    rivals = [ms[name]["median"] for name in ("onnxruntime", "openvino") if name in ms]
    ratio = f"{min(rivals) / ms['featherweight']['median']:.2f}x the faster of the others; " if rivals else ""
    return f"{about}: {sides} ms; {ratio}difference {max(record['difference'].values(), default=0):.1e}"


def main() -> None:
    """Measure, print and note."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--sparsities", nargs="+", type=float, default=list(SPARSITIES))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--against", nargs="*", default=OTHERS, choices=OTHERS)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each comparison")
    parser.add_argument("--note", action="store_true", help=f"append the records to {RESULTS.name}")
    args = parser.parse_args()
    sys.path.append(str(PEERS))
    about = machine() | {"precision": "fp32"}
    print("  ".join(f"{key}={value}" for key, value in about.items() if key != "threads"), flush=True)
    for row in itertools.product(args.networks, args.sparsities, args.batches, args.threads):
        record = measure(Case(*row), args.seconds, args.against)
        print(line(record), flush=True)
        if args.note:
            with RESULTS.open("a") as file:
                file.write(json.dumps(record | {"machine": about}) + "\n")


if __name__ == "__main__":
    main()
