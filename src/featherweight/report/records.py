"""The record of a demo: everything that its table and its page show."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from featherweight.errors import ArtifactError, SettingError
from featherweight.report import _check
from featherweight.report.pieces import (
    CodingBytes,
    Curve,
    Histogram,
    LayerSparsity,
    Milliseconds,
    Taught,
    Width,
)

_PIECES: dict[str, Any] = {
    "curves": Curve,
    "layers": LayerSparsity,
    "histograms": Histogram,
    "codings": CodingBytes,
    "widths": Width,
    "structured_times": Milliseconds,
    "runtime_times": Milliseconds,
}
_OF_STUDENT = tuple(field.name for field in fields(Taught))


@dataclass(frozen=True)
class DemoRecord:
    """What a demo did and found; see ``featherweight demo``.

    Attributes:
        network: name of the network.
        data: name of the data set.
        dense_accuracy: of the network before pruning, on the test split, 0..1 (so are the next four).
        pruned_accuracy: pruned while fine-tuning.
        oneshot_accuracy: pruned by magnitude in one step, not fine-tuned.
        random_accuracy: pruned at random in one step, not fine-tuned.
        oneshot_finetuned_accuracy: pruned in one step, then fine-tuned; None where that was not run.
        sparsity: fraction of the prunable weights that is zero, 0..1.
        params: parameters of the network.
        nonzero: of these, those that are not zero after pruning.
        bytes_dense: of the tensors of the network, dense fp32.
        bytes_compact: of the compact file, fp32, which loads bit for bit.
        compact_file: its path.
        test_examples: in the test split.
        validation_examples: in the validation split, on which every choice was made.
        bytes_compact_fp16: of the compact file with fp16 values.
        structured_accuracy: with channels removed and fine-tuned, on the test split, 0..1.
        structured_params: parameters of that network.
        structured_macs_ratio: fraction of the multiply-accumulates that it has left, 0..1.
        structured_speedup: how many times faster it is at batch 1: the quotient of the two medians.
        structured_bytes: of its compact file, fp32.
        structured_file: path of that file.
        structured_times: of a forward pass at batch 1 before and after, measured in turns.
        widths: outputs of each layer before and after.
        runtime_accuracy: of the pruned network, run by the sparse runtime on all test images.
        runtime_ms: milliseconds of an image in the sparse runtime, on one thread; a median.
        onnxruntime_ms: of the same network in ONNX Runtime, in turns with it.
        runtime_speedup_vs_onnxruntime: the quotient of the two.
        runtime_times: of ONNX Runtime and of the sparse runtime, with their quartiles.
        fw_bytes: of the compiled file.
        fw_file: path of that file.
        seconds: wall-clock seconds by phase.
        epochs: of fine-tuning, of either pruning.
        seed: of everything random.
        machine: processor, threads, versions.
        identical_predictions: whether a fresh process predicts the same from the compact file.
        curves: accuracy against the weights that remain.
        layers: what each layer keeps.
        histograms: weights of each layer, before and after.
        codings: bytes under each way of writing.
        taught: a student of the network, alone and distilled; None: that was not asked for.

    Raises:
        SettingError: a value is out of range.
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
    structured_accuracy: float
    structured_params: int
    structured_macs_ratio: float
    structured_speedup: float
    structured_bytes: int
    structured_file: str
    structured_times: tuple[Milliseconds, ...]
    widths: tuple[Width, ...]
    runtime_accuracy: float
    runtime_ms: float
    onnxruntime_ms: float
    runtime_speedup_vs_onnxruntime: float
    runtime_times: tuple[Milliseconds, ...]
    fw_bytes: int
    fw_file: str
    seconds: dict[str, float]
    epochs: int
    seed: int
    machine: dict[str, str]
    identical_predictions: bool
    curves: tuple[Curve, ...]
    layers: tuple[LayerSparsity, ...]
    histograms: tuple[Histogram, ...]
    codings: tuple[CodingBytes, ...]
    taught: Taught | None = None

    def __post_init__(self) -> None:
        for name in ("dense", "pruned", "oneshot", "random", "oneshot_finetuned", "structured", "runtime"):
            _check.fraction(f"{name}_accuracy", getattr(self, f"{name}_accuracy"))
        for name in ("sparsity", "structured_macs_ratio"):
            _check.fraction(name, getattr(self, name))
        for name in ("params", "bytes_dense", "bytes_compact", "bytes_compact_fp16", "test_examples"):
            _check.count(name, getattr(self, name), 1)
        for name in ("structured_params", "structured_bytes", "fw_bytes"):
            _check.count(name, getattr(self, name), 1)
        _check.same_length("times before and after", 2, len(self.structured_times))
        _check.same_length("times of the two runtimes", 2, len(self.runtime_times))
        for name in ("nonzero", "validation_examples", "epochs"):
            _check.count(name, getattr(self, name))
        for name in ("nonzero", "structured_params"):
            if (value := getattr(self, name)) > self.params:
                raise SettingError(f"{name} is {value:,}, more than the {self.params:,} parameters.")

    def to_json(self) -> str:
        """Return everything as a JSON object; what is known of a student stands beside the rest."""
        return _check.dump(self, inline="taught")

    @classmethod
    def from_json(cls, text: str) -> DemoRecord:
        """Return the record that ``to_json`` wrote.

        Raises:
            ArtifactError: it is not such a record.
        """
        found = _check.parse(text, "demo's record")
        try:
            pieces = {name: tuple(piece(**item) for item in found[name]) for name, piece in _PIECES.items()}
            student = {name: found.pop(name) for name in _OF_STUDENT if name in found}
            values: dict[str, Any] = {**found, **pieces, "taught": Taught(**student) if student else None}
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"Not a demo's record: {error}. Run the demo again with --json.") from error
