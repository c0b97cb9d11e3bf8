"""A record with made-up figures, for all tests of this folder."""

from __future__ import annotations

from typing import Any

import pytest

from featherweight.report import (
    CodingBytes,
    Curve,
    DemoRecord,
    Histogram,
    LayerSparsity,
    Milliseconds,
    Width,
)

FIELDS: dict[str, Any] = {
    "network": "fashion_cnn", "data": "fashion_mnist", "dense_accuracy": 0.9312, "pruned_accuracy": 0.9281,
    "oneshot_accuracy": 0.612, "random_accuracy": 0.1, "oneshot_finetuned_accuracy": None, "sparsity": 0.9,
    "params": 390_890, "nonzero": 39_953, "bytes_dense": 1_567_400, "bytes_compact": 139_402,
    "compact_file": "out/compact.safetensors", "test_examples": 10_000, "validation_examples": 5_000,
    "bytes_compact_fp16": 83_211, "seconds": {"load": 1.2, "total": 181.5}, "epochs": 4, "seed": 7,
    "structured_accuracy": 0.9255, "structured_params": 78_110, "structured_macs_ratio": 0.198,
    "structured_speedup": 3.2, "structured_bytes": 280_100, "structured_file": "out/structured.safetensors",
    "structured_times": (Milliseconds(0.64, 0.63, 0.66, 90), Milliseconds(0.2, 0.19, 0.21, 90)),
    "runtime_accuracy": 0.9304, "runtime_ms": 0.05, "onnxruntime_ms": 0.1, "fw_bytes": 170_000,
    "runtime_speedup_vs_onnxruntime": 2.0, "fw_file": "out/network.fw",
    "runtime_times": (Milliseconds(0.1, 0.09, 0.11, 900), Milliseconds(0.05, 0.04, 0.06, 900)),
    "widths": (Width("conv.weight", 32, 16), Width("fc.weight", 10, 10)),
    "machine": {"device": "a processor", "torch": "2.13.0"}, "identical_predictions": True,
    "curves": (Curve("progressive", (1.0, 0.1), (0.93, 0.92), "validation", 5_000, "a point an epoch"),),
    "layers": (LayerSparsity("conv.weight", 1_000, 72),),
    "histograms": (Histogram("conv.weight", (-1.0, 0.0, 1.0), (500, 500), (40, 32)),),
    "codings": (CodingBytes("dense, fp32", 4_000), CodingBytes("gap+zstd, fp32", 400)),
}  # fmt: skip


@pytest.fixture
def made():
    """Make a record that differs from FIELDS as asked."""
    return lambda **changes: DemoRecord(**{**FIELDS, **changes})
