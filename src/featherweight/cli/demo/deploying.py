"""The demo's last step: the pruned network as one file that runs without PyTorch, beside ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from featherweight.cli.demo.subject import Subject
from featherweight.compiling import compile as compile_network
from featherweight.engines import Spread, engines, in_turns
from featherweight.export import export_onnx
from featherweight.report import Milliseconds
from featherweight.runtime import Session

SECONDS = 3.0  # of timing
THREADS = 1
BATCH = 500  # of the test images


@dataclass(frozen=True)
class Deployed:
    """The compiled network.

    Attributes:
        file: the ``.fw`` file.
        accuracy: of the runtime on the test images, 0..1.
        runtime: milliseconds of an image.
        onnxruntime: of the same network in ONNX Runtime, in turns with it.
    """

    file: Path
    accuracy: float
    runtime: Milliseconds
    onnxruntime: Milliseconds

    @property
    def speedup(self) -> float:
        """How many times faster the runtime is."""
        return self.onnxruntime.median / self.runtime.median


def deploy(subject: Subject, pruned: nn.Module, out: Path) -> Deployed:
    """Compile the pruned network, and time and score what came of it."""
    image = torch.from_numpy(np.asarray(subject.splits.test[0][0])[None])
    onnx, file = out / "network.onnx", out / "network.fw"
    export_onnx(pruned, image, onnx)
    session = compile_network(onnx, file, example_inputs=image.numpy(), threads=THREADS)
    runs = {
        "runtime": engines["featherweight"].load(file, THREADS).run,
        "onnxruntime": engines["onnxruntime"].load(onnx, THREADS).run,
    }
    times = in_turns({n: partial(run, [image.numpy()]) for n, run in runs.items()}, seconds=SECONDS)
    return Deployed(
        file=file,
        accuracy=_accuracy(session, subject),
        runtime=_milliseconds(times["runtime"]),
        onnxruntime=_milliseconds(times["onnxruntime"]),
    )


def _accuracy(session: Session, subject: Subject) -> float:
    right = seen = 0
    for images, labels in subject.splits.test.loader(BATCH):
        right += int((session.run(images.numpy()).argmax(1) == labels.numpy()).sum())
        seen += len(labels)
    return right / seen


def _milliseconds(spread: Spread) -> Milliseconds:
    return Milliseconds(spread.median, spread.low, spread.high, spread.calls)
