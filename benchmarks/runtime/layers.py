"""GFLOP/s on nonzeros layer by layer, as a share of what the processor can do, and where the rest goes.

    python -m benchmarks.runtime.layers                                   # resnet50 at 90%: a minute
    python -m benchmarks.runtime.layers --networks vgg16_bn --sparsities 0.8 --threads 2
    FEATHERWEIGHT_ISA=avx2 python -m benchmarks.runtime.layers --note

The peak is measured before and after (``benchmarks/runtime/peak.py``); the higher counts. The file is that of
``benchmarks.runtime.speed``, compiled where it is not there. Run it alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._machine import machine
from benchmarks.runtime.networks import NETWORKS, input_shape
from benchmarks.runtime.peak import peak_gflops
from benchmarks.runtime.pictures import layers as picture
from benchmarks.runtime.speed import Case

import featherweight as fw
from featherweight.runtime import OperationTime, fwfile
from featherweight.runtime.graph import Graph

RESULTS = Path(__file__).parents[1] / "results" / "runtime_layers.jsonl"
FIRST = "first layer"
# Where time goes: a title, and the kernels that belong there.
GROUPS = {
    FIRST: (),
    "sparse convolutions": ("sparse_conv",),
    "dense convolutions": ("dense_conv", "plain_conv", "conv_transpose"),
    "depthwise convolutions": ("depthwise_conv",),
    "linear layers": ("sparse_linear", "dense_linear", "plain_linear", "matmul"),
    "halos": ("fill_halo",),
    "from and to plain arrays": ("enter_lanes", "leave_lanes"),
    "from one tiling to another": ("retile",),
    "pooling": ("pool", "global_pool", "plain_pool", "plain_global_pool"),
    "element-wise": ("lane_unary", "lane_binary", "lane_affine", "unary", "binary", "affine"),
}
OTHER = "other"


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Return the record of one network."""
    path = case.paths["featherweight"]
    session = fw.runtime.load(path, threads=case.threads)
    peaks = [peak_gflops(session.isa, case.threads)]
    image = np.random.default_rng(0).standard_normal(input_shape(case.network, case.batch), np.float32)
    session.run(image)
    profile = session.profile(image, repeats=repeats)
    peaks.append(peak_gflops(session.isa, case.threads))
    peak = max((rate for rate in peaks if rate), default=None)
    titles = list(_titles(profile.rows))
    described = _described(fwfile.read(path))
    rows = [
        asdict(row)
        | {"group": title, "layer": described.get(row.operation, ""), "sparsity": row.sparsity}
        | _speed(row.macs_done, row.milliseconds, peak)
        for row, title in zip(profile.rows, titles, strict=True)
    ]
    return asdict(case) | {
        "instructions": session.isa,
        "repeats": repeats,
        "peak_gflops": peak,
        "all": _sum("all", rows, peak),
        "groups": [
            _sum(title, [row for row in rows if row["group"] == title], peak)
            for title in (*GROUPS, OTHER)
            if title in titles
        ],
        "rows": rows,
    }


def _titles(rows: Iterable[OperationTime]) -> Iterable[str]:
    """Yield the group of each row; the first with multiplications is the first layer."""
    seen = False
    for row in rows:
        first = bool(row.macs) and not seen
        seen = seen or first
        yield FIRST if first else next((t for t, kernels in GROUPS.items() if row.kernel in kernels), OTHER)


def _described(graph: Graph) -> dict[str, str]:
    """Return what each layer is, such as "3x3/2, 64 to 128", by the name of its operation."""
    found: dict[str, str] = {}
    for operation in graph.operations:
        if "weight" not in operation.constants:
            continue
        shape = graph.constants[operation.constants["weight"]].array.shape
        stride = operation.attributes.get("strides", (1, 1))[0]
        window = f"{'x'.join(map(str, shape[2:]))}{f'/{stride}' if stride > 1 else ''}, " if shape[2:] else ""
        found[operation.name] = f"{window}{shape[1]} to {shape[0]}"
    return found


def _speed(macs_done: int, ms: float, peak: float | None) -> dict[str, float | None]:
    gflops = 2e-6 * macs_done / ms if macs_done and ms else None
    return {"gflops": gflops, "share_of_peak": gflops / peak if gflops and peak else None}


def _sum(title: str, rows: list[dict[str, Any]], peak: float | None) -> dict[str, Any]:
    ms, done = sum(row["milliseconds"] for row in rows), sum(row["macs_done"] for row in rows)
    return {"group": title, "steps": len(rows), "milliseconds": ms, "macs_done": done} | _speed(
        done, ms, peak
    )


def text(record: dict[str, Any]) -> str:
    """Return a record in words."""
    about = f"{record['network']} {record['sparsity']:.0%}, batch {record['batch']}"
    about += f", {record['threads']} thread(s)"
    peak = f"at most {record['peak_gflops'] or float('nan'):.0f} GFLOP/s"
    lines = [f"{about}, {record['instructions']}: {peak}"]
    for row in record["rows"]:
        if row["macs"]:
            lines.append(_line(f"{row['kernel']}, {row['layer']}", row))
    lines.append("")
    lines += [_line(f"{row['group']} ({row['steps']})", row) for row in (*record["groups"], record["all"])]
    return "\n".join(lines)


def _line(name: str, row: dict[str, Any]) -> str:
    speed = "" if row["gflops"] is None else f"{row['gflops']:7.1f} GFLOP/s"
    share = "" if row["share_of_peak"] is None else f"  {row['share_of_peak']:6.1%}"
    return f"{name:<36} {row['milliseconds']:9.4f} ms {speed}{share}"


def main() -> None:
    """Measure, print, draw and note."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["resnet50"], choices=NETWORKS)
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.9])
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--repeats", type=int, default=50, help="runs that are timed, of each network")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the last network")
    parser.add_argument("--note", action="store_true", help=f"append the records to {RESULTS.name}")
    args = parser.parse_args()
    about = machine() | {"precision": "fp32"}
    for row in itertools.product(args.networks, args.sparsities, args.batches, args.threads):
        record = measure(Case(*row), args.repeats) | {"machine": about}
        print(text(record), flush=True)
        if args.note:
            with RESULTS.open("a") as file:
                file.write(json.dumps(record) + "\n")
        if args.plot is not None:
            args.plot.write_text(picture(record))


if __name__ == "__main__":
    main()
