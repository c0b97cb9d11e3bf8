"""The tables and pictures of the runtime's records, of as many cases as there may be."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
MACHINE = {"cpu": "a processor", "commit": "abc"}


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    return importlib.import_module("benchmarks.runtime.tables")


def timing(median: float) -> dict[str, float]:
    return {"median": median, "low": 0.9 * median, "high": 1.1 * median, "calls": 9}


def speed(network: str, sparsity: float, batch: int, threads: int, isa: str) -> dict[str, Any]:
    """Ours takes 10 ms less 10 for all zeros, ONNX Runtime 11, OpenVINO 12, an image and a thread."""
    own = {"featherweight": 10 * (1 - sparsity), "onnxruntime": 11.0, "openvino": 12.0, "torch": 20.0}
    case = {"network": network, "sparsity": sparsity, "batch": batch, "threads": threads, "isa": isa}
    ms = {side: timing(time * batch / threads) for side, time in own.items()}
    return case | {"ms": ms, "versions": {"torch": "2"}, "machine": MACHINE}


@pytest.fixture
def matrix(tables: ModuleType) -> list[dict[str, Any]]:
    from benchmarks.runtime.networks import NETWORKS, SPARSITIES

    cases = itertools.product(reversed(NETWORKS), SPARSITIES, (16, 1), (2, 1), ("avx2", "best"))
    return [speed(*case) for case in cases]


def test_a_table_for_each_setting_and_a_row_for_each_network(tables: ModuleType, matrix: Any) -> None:
    text = tables.speed(matrix)
    titles = [line for line in text.splitlines() if line.startswith("**")]
    assert [title.split(";")[0].strip("*") for title in titles[:4]] == [
        "Batch 1, 1 thread",
        "Batch 16, 1 thread",
        "Batch 1, 2 threads",
        "Batch 16, 2 threads",
    ]
    assert len(titles) == 8
    assert all("avx2 alone" in title for title in titles[4:])
    row = next(line for line in text.splitlines() if line.startswith("| resnet50"))
    assert row == (
        "| resnet50 | 10.0 ms<br>**1.10x** | 3.00 ms<br>**3.67x** | 2.00 ms<br>**5.50x** "
        "| 1.00 ms<br>**11.00x** | 0.50 ms<br>**22.00x** | 11.0 ms | 12.0 ms | 20.0 ms |"
    )
    assert len([line for line in text.splitlines() if line.startswith("| vgg16_bn")]) == 8


def test_the_last_of_two_records_counts_and_gaps_stay_empty(tables: ModuleType) -> None:
    first, second = (speed("resnet18", 0.9, 1, 1, "best") for _ in range(2))
    first["ms"]["featherweight"] = timing(7.0)
    text = tables.speed([first, second, speed("vgg16_bn", 0.0, 1, 1, "best")])
    assert "7.00" not in text
    assert "| resnet18 |  | 1.00 ms<br>**11.00x** | 11.0 ms |" in text


def test_scaling_is_time_over_time(tables: ModuleType, matrix: Any) -> None:
    lines = tables.scaling(matrix).splitlines()
    assert len(lines) == 2 + 12
    assert lines[2] == "| resnet50 | 1 | 2.00x | 2.00x | 2.00x | 2.00x |"


def test_costs(tables: ModuleType) -> None:
    found = {name: timing(5.0) for name in ("ready_ms", "memory_mb", "peak_mb")}
    sizes = dict.fromkeys(
        ("featherweight", "of it the library", "base", "numpy", "onnxruntime", "openvino", "torch"), 2_000_000
    )
    record = speed("resnet18", 0.9, 1, 1, "best") | {
        "compile_s": {"tuned": 9.0, "untuned": 3.0},
        "engines": dict.fromkeys(tables.TITLES, found),
        "file_bytes": dict.fromkeys(tables.TITLES, 1_500_000),
        "installed_bytes": sizes,
    }
    text = tables.cost([record])
    assert "| resnet18, 90% | 9.0 | 3.0 | 5.00 (4.50 to 5.50) |" in text
    assert "| resnet18, 90% | 5 (5) |" in text
    assert "| resnet18, 90% | 1.5 | 1.5 | 1.5 |" in text
    assert "| ONNX Runtime | 2.0 |" in text


@pytest.mark.parametrize("peak", [100.0, None])
def test_layers_and_their_picture(tables: ModuleType, peak: float | None) -> None:
    from benchmarks.runtime.layers import _speed, _sum

    rows = [
        {"group": "halos", "milliseconds": 0.5, "macs": 0, "macs_done": 0} | _speed(0, 0.5, peak),
        {"group": "sparse convolutions", "milliseconds": 1.5, "macs": 10**9, "macs_done": 15 * 10**6}
        | _speed(15 * 10**6, 1.5, peak),
    ]
    record = speed("resnet50", 0.9, 1, 1, "best") | {
        "instructions": "avx2",
        "peak_gflops": peak,
        "rows": rows,
        "groups": [_sum(row["group"], [row], peak) for row in rows],
        "all": _sum("all", rows, peak),
    }
    share = "20.0%" if peak else ""
    assert f"| sparse convolutions | 1 | 1.500 | 75.0% | 20.0 | {share} |" in tables.layers([record])
    assert "| all | 2 | 2.000 | 100.0% | 15.0 |" in tables.layers([record])
    assert ElementTree.fromstring(tables.pictures.layers(record)).tag.endswith("svg")


def test_the_picture_of_speed_has_every_network(tables: ModuleType, matrix: Any) -> None:
    cases = [r | {"ratio": tables.ratio(r)} for r in matrix if r["isa"] == "best"]
    svg = tables.pictures.speedup(cases)
    words = {element.text for element in ElementTree.fromstring(svg).iter() if element.text}
    assert {"resnet50", "vgg16_bn", "mobilenet_v1"} <= words


def test_what_was_not_measured_is_said(tables: ModuleType) -> None:
    assert tables.speed([]) == tables.cost([]) == tables.layers([]) == tables.scaling([]) == tables.NOT_YET
