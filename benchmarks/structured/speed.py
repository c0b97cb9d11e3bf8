"""Milliseconds before and after cutting channels, in PyTorch and in ONNX Runtime, batch 1 and 64.

    python -m benchmarks.structured.speed                       # all networks, about ten minutes
    python -m benchmarks.structured.speed --networks fashion_cnn

The whole and the cut network take turns (A B A B ...) in one process. What is compared is the network that
benchmarks.structured.accuracy left in runs/structured where it is there; else the trained or new network is
cut here. ResNet-50 and MobileNetV2 have new weights: shapes are what counts. Needs ``make peers``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks._machine import machine
from benchmarks.prune_cost import Timing, alternate, timed
from benchmarks.structured.accuracy import QUESTIONS
from benchmarks.structured.networks import use_peers
from benchmarks.structured.runs import Run
from torch import Tensor, nn

import featherweight as fw
from featherweight.zoo import build

RESULTS = Path(__file__).parents[1] / "results" / "structured_speed.json"


@dataclass(frozen=True)
class Subject:
    """A network that is cut.

    Attributes:
        macs: fraction of the MACs that is left at most.
        shape: of one input.
        make: the network.
        run: the accuracy run whose network is measured, where there is one.
        round_to: groups keep multiples of this many channels.
    """

    macs: float
    shape: tuple[int, int, int]
    make: Callable[[], nn.Module]
    run: Run | None = None
    round_to: int = 1


def _asked(network: str) -> Subject:
    asked = QUESTIONS[network]
    (run,) = asked.runs(1, ["l2"])
    return Subject(asked.macs, (1, 28, 28), lambda: fw.load_model(network), run, asked.round_to)


def _new(name: str, round_to: int = 1) -> Subject:
    return Subject(1 / 3, (3, 224, 224), lambda: build(name, in_channels=3, classes=1000), round_to=round_to)


SUBJECTS = {
    "fashion_cnn": _asked("fashion_cnn"),
    "fashion_resnet20": _asked("fashion_resnet20"),
    "resnet50": _new("resnet50"),
    "resnet50, by 16": _new("resnet50", round_to=16),
    "mobilenet_v2": _new("mobilenet_v2"),
    "mobilenet_v2, by 16": _new("mobilenet_v2", round_to=16),
}


@dataclass(frozen=True)
class Row:
    """One comparison; times are seconds of a forward pass of the batch.

    Attributes:
        network: its name.
        engine: "PyTorch" or "ONNX Runtime".
        batch: inputs at a time.
        before: of the whole network.
        after: of the cut one.
    """

    network: str
    engine: str
    batch: int
    before: Timing
    after: Timing

    @property
    def ratio(self) -> float:
        """How many times faster the cut network is, by medians."""
        return self.before.median / self.after.median


def cut(subject: Subject) -> tuple[nn.Module, nn.Module]:
    """Return the whole network and the cut one."""
    torch.manual_seed(0)
    whole, small = subject.make().eval(), subject.make().eval()
    if subject.run is not None and subject.run.file.exists():
        return whole, fw.load(subject.run.file, into=small).eval()
    small, _ = fw.prune_structured(
        small, torch.randn(2, *subject.shape), macs=subject.macs, round_to=subject.round_to
    )
    return whole, small.eval()


def in_torch(model: nn.Module, x: Tensor) -> Callable[[], float]:
    """Return what times one forward pass in PyTorch."""

    def once() -> float:
        with torch.inference_mode():
            return timed(lambda: model(x))

    return once


def in_onnxruntime(model: nn.Module, x: Tensor, threads: int) -> Callable[[], float]:
    """Return what times one forward pass in ONNX Runtime, of the network as torch.onnx exports it."""
    use_peers()
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "model.onnx"
        torch.onnx.export(model, (x,), file, dynamo=True, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x.numpy()}
    return lambda: timed(lambda: session.run(None, feed))


def measure(name: str, threads: int, seconds: float) -> tuple[dict[str, Any], list[Row]]:
    """Return what the cut left, and a row for each engine and batch size."""
    subject = SUBJECTS[name]
    whole, small = cut(subject)
    one = torch.zeros(1, *subject.shape)
    before, after = (fw.profile(model, one, repeats=2, warmup=0) for model in (whole, small))
    left = {
        "network": name,
        "trained": subject.run is not None and subject.run.file.exists(),
        "params": [before.params, after.params],
        "macs": [before.macs, after.macs],
    }
    rows: list[Row] = []
    for batch in (1, 64):
        x = torch.randn(batch, *subject.shape)
        engines: dict[str, Callable[[nn.Module], Callable[[], float]]] = {
            "PyTorch": lambda model, x=x: in_torch(model, x),
            "ONNX Runtime": lambda model, x=x: in_onnxruntime(model, x, threads),
        }
        for engine, of in engines.items():
            sides = {"before": of(whole), "after": of(small)}
            repeats = max(5, min(300, int(seconds / sides["before"]())))
            timings = alternate(sides, repeats)
            rows.append(Row(name, engine, batch, timings["before"], timings["after"]))
            print(line(rows[-1]), flush=True)
    return left, rows


def line(row: Row) -> str:
    """Return a row in words."""
    sides = [f"{1e3 * t.median:.3f} [{1e3 * t.low:.3f}-{1e3 * t.high:.3f}]" for t in (row.before, row.after)]
    return (
        f"{row.network:<18} {row.engine:<13} batch {row.batch:>2}: {sides[0]} ms -> {sides[1]} ms, "
        f"{row.ratio:.2f}x faster, n={row.before.repeats}"
    )


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each comparison's first side")
    parser.add_argument("--json", type=Path, help=f"write machine and rows here, such as {RESULTS.name}")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    about = machine() | {"threads": args.threads, "precision": "fp32"}
    print("  ".join(f"{key}={value}" for key, value in about.items()), flush=True)
    measured = [measure(name, args.threads, args.seconds) for name in args.networks]
    for left, _ in measured:
        shares = ", ".join(f"{left[k][1] / left[k][0]:.3f} of the {k}" for k in ("params", "macs"))
        print(f"{left['network']}: {shares} left{'' if left['trained'] else ', weights not trained'}")
    if args.json:
        found = {"machine": about, "cut": [left for left, _ in measured]}
        found["rows"] = [asdict(row) | {"ratio": row.ratio} for _, rows in measured for row in rows]
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
