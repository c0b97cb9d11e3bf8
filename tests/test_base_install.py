"""The base install has no torch: what it promises works with every import of torch refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REFUSE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])

sys.meta_path.insert(0, Refuse())
"""
EXTRA = {"torch", "accelerate", "matplotlib", "jinja2", "pooch", "sklearn", "tensorboard"}
EXTRA |= {"onnx", "onnxscript", "onnx_ir", "onnxruntime"}


def run(code: str, refused: set[str] = EXTRA) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh Python that has none of the ``refused`` packages."""
    program = REFUSE.format(refused=refused) + code
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )


@pytest.mark.parametrize(
    "module", ["featherweight", "featherweight.artifact", "featherweight.errors", "featherweight.runtime"]
)
def test_imports_without_torch(module: str) -> None:
    ran = run(f"import {module}")
    assert ran.returncode == 0, ran.stderr


def test_the_refusal_refuses() -> None:
    assert "No module named 'torch" in run("import torch").stderr


def test_importing_featherweight_does_not_import_torch_where_it_is_there() -> None:
    ran = run("import featherweight.artifact, sys; assert 'torch' not in sys.modules", refused=set())
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", ["prune", "evaluate", "load_model"])
def test_a_name_that_needs_torch_says_what_to_install(name: str) -> None:
    ran = run(f"import featherweight as fw; fw.{name}")
    assert ran.returncode == 1
    assert f"ImportError: featherweight.{name} needs torch: pip install 'featherweight[torch]'" in ran.stderr


RELU = """
import numpy as np, featherweight as fw
from featherweight.runtime import fwfile
from featherweight.runtime.activation import Activation
from featherweight.runtime.graph import Graph, Input, Operation
relu = Operation("unary", "relu", ("x",), ("y",), {{"activation": Activation("relu")}})
fwfile.write({path!r}, Graph((Input("x", (None, 3)),), ("y",), (relu,)))
session = fw.runtime.load({path!r}, threads=1)
assert session.run(np.float32([[-1, 2, -3]])).tolist() == [[0, 2, 0]]
assert "relu" in str(session.profile(repeats=1))
"""


def test_a_file_runs_without_torch_and_onnx(tmp_path: Path) -> None:
    ran = run(RELU.format(path=str(tmp_path / "relu.fw")))
    assert ran.returncode == 0, ran.stderr


def test_compiling_without_onnx_says_what_to_install() -> None:
    ran = run("import featherweight as fw; fw.compile('network.onnx')")
    assert "ImportError: Compiling needs onnx and onnxscript: pip install 'featherweight[onnx]'" in ran.stderr


def test_the_command_answers_without_torch() -> None:
    ran = run("from featherweight.cli import main; sys.argv = ['featherweight', '--help']; main()")
    assert ran.returncode == 0, ran.stderr
    assert "inspect" in ran.stdout
