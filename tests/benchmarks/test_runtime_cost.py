"""What the benchmark of cost measures in fresh processes, on a network of one operation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from featherweight.runtime import fwfile
from featherweight.runtime.activation import Activation
from featherweight.runtime.graph import Graph, Input, Operation

ROOT = Path(__file__).parents[2]
MEGABYTES = 3 * 224 * 224 * 4 / 1e6  # of an image


def fresh(*words: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.runtime._fresh", *map(str, words)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells memory there")
def test_loading_takes_time_and_memory(tmp_path: Path) -> None:
    relu = Operation("unary", "relu", ("x",), ("y",), {"activation": Activation("relu")})
    fwfile.write(tmp_path / "relu.fw", Graph((Input("x", (None, 3, 224, 224)),), ("y",), (relu,)))
    batch = 64
    found = fresh("load", "featherweight", tmp_path / "relu.fw", 1, f"{batch}x3x224x224")
    assert found["ready_ms"] == pytest.approx(found["load_ms"] + found["first_run_ms"])
    assert found["load_ms"] > 0
    assert found["peak_mb"] >= found["memory_mb"]
    assert found["peak_mb"] > 0.9 * batch * MEGABYTES  # the output, at least


def test_requirements_are_named_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from benchmarks.runtime.cost import _plain

    assert [
        _plain(text) for text in ("Typing_Extensions>=4.1", "rich[jupyter]", "a.b (<2)", "zstandard")
    ] == [
        "typing-extensions",
        "rich",
        "a-b",
        "zstandard",
    ]
