"""What the runtime costs beside its milliseconds: compiling, loading, memory, bytes on disk and installed.

    python -m benchmarks.runtime.cost                          # every network at 90%: a quarter of an hour
    python -m benchmarks.runtime.cost --networks resnet18 --repeats 3 --note

Each measurement is in a fresh process; the engines take turns. *Ready* is from opening the file to the end of
the first run, the library imported before. *Memory* is what is resident after three runs, and *peak* the most
that was resident, both less what was resident when the library had been imported; weights mapped from
the file count as soon as they are read. Files are in the page cache. Linux only; needs ``make peers``. Run it
alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._machine import machine
from benchmarks.runtime._fresh import PEERS
from benchmarks.runtime.networks import NETWORKS, files_of, input_shape

from featherweight.engines import Spread, engines

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "runtime_cost.jsonl"
BASE = ("safetensors", "zstandard", "typer", "rich")  # of pyproject.toml, beside numpy
PACKAGES = ("numpy", "onnxruntime", "openvino", "torch")


def measure(network: str, sparsity: float, threads: int, repeats: int) -> dict[str, Any]:
    """Return the record of one network."""
    files = files_of(network, sparsity)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder, "network.fw")
        compiling = {
            how: [_fresh("compile", files.onnx, own, threads, how)["seconds"] for _ in range(repeats)]
            for how in ("untuned", "tuned")  # the tuned file is what is loaded then
        }
        paths = {
            "featherweight": own,
            "onnxruntime": files.onnx,
            "openvino": files.onnx,
            "torch": files.program,
        }
        return {
            "network": network,
            "sparsity": sparsity,
            "batch": 1,
            "threads": threads,
            "compile_s": {how: float(np.median(seconds)) for how, seconds in compiling.items()},
            "engines": _engines(paths, "x".join(map(str, input_shape(network))), threads, repeats),
            "file_bytes": {engine: path.stat().st_size for engine, path in paths.items()},
        }


def _engines(paths: dict[str, Path], shape: str, threads: int, repeats: int) -> dict[str, Any]:
    """Return median and quartiles of what each engine takes; the first process of each is not counted."""
    found: dict[str, list[dict[str, float]]] = {engine: [] for engine in paths}
    for _ in range(repeats + 1):
        for engine, path in paths.items():
            found[engine].append(_fresh("load", engine, path, threads, shape))
    return {
        engine: {name: asdict(Spread.of([run[name] for run in runs[1:]])) for name in runs[0]}
        for engine, runs in found.items()
    }


def _fresh(*words: object) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.runtime._fresh", *map(str, words)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{ran.stdout}{ran.stderr}")
    return json.loads(ran.stdout.splitlines()[-1])


def installed() -> dict[str, int]:
    """Return the bytes that each package takes in site-packages, without bytecode.

    Ours are the files that the wheel holds; "base" is what it depends on beside numpy, with what that needs.
    """
    known: dict[str, Distribution] = {}
    for each in distributions(path=[*sys.path, str(PEERS)]):
        known.setdefault(_plain(each.name), each)  # the first is the one that is imported
    own = ROOT / "src" / "featherweight"
    from featherweight import _native

    sources = (p for p in own.rglob("*") if p.is_file() and p.suffix not in (".pyc", ".so"))
    library = Path(str(_native.__file__))
    sizes = {"featherweight": _bytes((*sources, library)), "of it the library": _bytes((library,))}
    sizes["base"] = sum(_size(known[name]) for name in _closure(known, BASE))
    return sizes | {name: _size(known[name]) for name in PACKAGES}


def _closure(known: dict[str, Distribution], names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found and name in known:
            found.add(name)
            asked = (r for r in known[name].requires or () if ";" not in r)
            waiting += [_plain(r) for r in asked]
    return found


def _plain(requirement: str) -> str:
    """Return the name of a requirement as registries write it."""
    name = requirement
    for sign in "[<>=!~; (":
        name = name.partition(sign)[0]
    return name.lower().replace("_", "-").replace(".", "-")


def _size(distribution: Distribution) -> int:
    return _bytes(Path(str(file.locate())) for file in distribution.files or ())


def _bytes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file() and path.suffix != ".pyc")


def text(record: dict[str, Any]) -> str:
    """Return a record in words."""
    seconds = record["compile_s"]
    lines = [
        f"{record['network']} {record['sparsity']:.0%}, {record['threads']} thread(s): compiled in "
        f"{seconds['tuned']:.1f} s, without measuring {seconds['untuned']:.1f} s"
    ]
    for engine, found in record["engines"].items():
        ready, memory, peak = (found[name]["median"] for name in ("ready_ms", "memory_mb", "peak_mb"))
        lines.append(
            f"  {engine:<14} ready in {ready:8.1f} ms, {memory:7.1f} MB (peak {peak:7.1f}), file "
            f"{record['file_bytes'][engine] / 1e6:6.1f} MB, import {found['import_ms']['median']:.0f} ms"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print and note."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.9])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--repeats", type=int, default=5, help="processes for each engine, at least two")
    parser.add_argument("--note", action="store_true", help=f"append the records to {RESULTS.name}")
    args = parser.parse_args()
    if args.repeats < 2:
        parser.error("--repeats is at least 2: quartiles are wanted")
    sys.path.append(str(PEERS))
    sizes = installed()
    print(", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items()), flush=True)
    about = {
        "installed_bytes": sizes,
        "versions": {name: engines[name].version() for name in engines},
        "machine": machine() | {"precision": "fp32"},
    }
    for row in itertools.product(args.networks, args.sparsities, args.threads):
        record = measure(*row, args.repeats) | about
        print(text(record), flush=True)
        if args.note:
            with RESULTS.open("a") as file:
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
