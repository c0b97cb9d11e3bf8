"""What is reported, as plain data: no tensors, no models; to and from JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self


class _Json:
    def to_json(self) -> str:
        """Return the record as a JSON object."""
        return json.dumps(asdict(self), indent=1)  # pyright: ignore[reportArgumentType] - always a dataclass


@dataclass(frozen=True)
class Curve:
    """Accuracy against the weights that are left, of one method.

    Attributes:
        label: name of the method.
        kept: fraction of the prunable weights that are left, 0..1, one a point.
        accuracy: of each point, 0..1.
        split: which examples it was measured on.
        examples: how many.
        note: what a point is.
    """

    label: str
    kept: tuple[float, ...]
    accuracy: tuple[float, ...]
    split: str
    examples: int
    note: str


@dataclass(frozen=True)
class LayerSparsity:
    """How many weights of a layer are left: ``kept`` of ``numel``."""

    name: str
    numel: int
    kept: int


@dataclass(frozen=True)
class Histogram:
    """Weights of a layer before and after, zeros left out.

    Attributes:
        name: of the layer.
        edges: of the bins, one more than bins.
        before: weights in each bin in the dense network.
        after: weights in each bin in the pruned network.
    """

    name: str
    edges: tuple[float, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class CodingBytes:
    """What the same network takes in one way of writing it down."""

    name: str
    bytes: int


@dataclass(frozen=True)
class DemoRecord(_Json):
    """Everything that the demo found.

    Attributes:
        network: name of the network.
        data: name of the data set.
        dense_accuracy: of the network as it came, on the test examples, 0..1.
        pruned_accuracy: pruned progressively while fine-tuned.
        oneshot_accuracy: pruned at once by magnitude, not trained further.
        random_accuracy: pruned at once at random, not trained further.
        oneshot_finetuned_accuracy: pruned at once by magnitude and fine-tuned as long; None: not run.
        sparsity: fraction of the prunable weights that are zero, 0..1.
        params: parameters of the network.
        nonzero: parameters of the pruned network that are not zero.
        bytes_dense: of the dense fp32 values.
        bytes_compact: of the compact file, fp32, lossless.
        compact_file: its path.
        test_examples: number of test examples.
        validation_examples: number of validation examples.
        bytes_compact_fp16: of the compact file with fp16 values.
        seconds: by phase, and "total".
        epochs: of fine-tuning.
        seed: of everything random.
        machine: what it ran on.
        identical_predictions: whether a fresh process predicts the same from the file, bit for bit.
        curves: accuracy against remaining weights.
        layers: what each layer keeps.
        histograms: the weights before and after.
        codings: bytes of the pruned network under each coding.
    """

    network: str
    data: str
    dense_accuracy: float
    pruned_accuracy: float
    oneshot_accuracy: float
    random_accuracy: float
    oneshot_finetuned_accuracy: float | None
    sparsity: float
    params: int
    nonzero: int
    bytes_dense: int
    bytes_compact: int
    compact_file: str
    test_examples: int
    validation_examples: int
    bytes_compact_fp16: int
    seconds: dict[str, float]
    epochs: int
    seed: int
    machine: dict[str, str]
    identical_predictions: bool
    curves: tuple[Curve, ...] = ()
    layers: tuple[LayerSparsity, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    codings: tuple[CodingBytes, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        values: dict[str, Any] = json.loads(text)
        parts = {"curves": Curve, "layers": LayerSparsity, "histograms": Histogram, "codings": CodingBytes}
        for name, kind in parts.items():
            values[name] = tuple(kind(**_tuples(item)) for item in values[name])
        return cls(**values)


@dataclass(frozen=True)
class PruneRecord(_Json):
    """What ``featherweight prune`` did.

    Attributes:
        model: the network, as it was named.
        sparsity: fraction of the prunable weights that are zero, 0..1.
        params: parameters of the network.
        nonzero: parameters that are not zero afterwards.
        accuracy_before: 0..1; None: not measured.
        accuracy_after: 0..1; None: not measured.
        examples: number of examples that it was measured on; None: not measured.
        bytes_dense: of the dense fp32 values.
        bytes_compact: of the file written.
        out: its path.
        left_alone: name and reason of each parameter that was not pruned.
    """

    model: str
    sparsity: float
    params: int
    nonzero: int
    accuracy_before: float | None
    accuracy_after: float | None
    examples: int | None
    bytes_dense: int
    bytes_compact: int
    out: str
    left_alone: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class InspectRow(_Json):
    """A tensor of a file.

    Attributes:
        name: its name.
        shape: its shape.
        dtype: its type, and as what it is stored if that differs.
        nonzeros: values that are not zero.
        numel: all values.
        coding: how it is written down.
        bytes: what it takes in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nonzeros: int
    numel: int
    coding: str
    bytes: int


def _tuples(item: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in item.items()}
