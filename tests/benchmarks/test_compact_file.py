"""The compact file's benchmark measures what it says, and fails when a target is missed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import compact_file


@pytest.fixture
def arguments() -> argparse.Namespace:
    return argparse.Namespace(weights=None, sparsity=0.9, allocation="global", repeats=1, seed=0)


@pytest.mark.parametrize("values", ["fp32", "fp16"])
@pytest.mark.parametrize("network", ["fashion_cnn", "small_cnn", "resnet20"])
def test_small_networks_reach_their_targets(
    network: str, values: str, arguments: argparse.Namespace, tmp_path: Path
) -> None:
    row = compact_file.measure(network, values, arguments, tmp_path)
    assert row["file_bytes"] == (tmp_path / "compact.safetensors").stat().st_size
    assert row["dense_bytes"] > 4 * row["elements"]
    assert compact_file.missed(row) == []


def test_at_half_the_sparsity_the_targets_are_missed(arguments: argparse.Namespace, tmp_path: Path) -> None:
    arguments.sparsity = 0.45
    row = compact_file.measure("small_cnn", "fp32", arguments, tmp_path)
    assert "expected 8.3x" in compact_file.missed(row)[0]
