"""The example in C, compiled and run on a network of the zoo; what it prints is what Python computes.

Kernels are not compiled again: the library is linked from the objects that ``make install`` left in build/.
CMake's way of building it is that of ``make native-tests``.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch

import featherweight as fw

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "native"
CXX, CC = os.environ.get("CXX", "c++"), os.environ.get("CC", "cc")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")


def objects() -> Path | None:
    """Return the archive of kernels and plans that the Python module of this interpreter was linked from."""
    tag = f"cp{sysconfig.get_config_var('py_version_nodot')}"
    found = list(ROOT.glob(f"build/{tag}-*/native/libfeatherweight_native.a"))
    return found[0] if found else None


def stale() -> bool:
    """Whether a source has changed since; ``make test`` sees to it that none has, and CI does not ask."""
    archive = objects()
    sources = (path for path in NATIVE.rglob("*") if path.suffix in (".cc", ".h", ".inl"))
    newest = max(path.stat().st_mtime for path in sources)
    return not os.environ.get("CI") and (archive is None or archive.stat().st_mtime < newest)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(stale(), reason="build/ is older than native/: run `make install`"),
]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c")
    archive = str(objects())
    source = str(NATIVE / "c" / "featherweight.cc")
    shared = ("-shared", "-fPIC", "-fvisibility=hidden", f"-I{NATIVE}")
    done(
        CXX, "-std=c++17", *shared, source, archive, "-pthread", "-o", "libfeatherweight_c.so", folder=folder
    )
    program = (str(NATIVE / "c" / "example.c"), f"-I{NATIVE / 'c'}", *WARNINGS)
    linked = ("-L.", "-lfeatherweight_c", f"-Wl,-rpath,{folder}", "-o", "example")
    done(CC, "-std=c99", *program, *linked, folder=folder)
    return folder / "example"


def done(*words: str, folder: Path) -> None:
    ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def ran(example: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([example, *words], capture_output=True, text=True, check=False)


def test_it_computes_what_python_does(example: Path, tmp_path: Path) -> None:
    model = fw.load_model("fashion_resnet20").eval()
    fw.prune(model, 0.9)
    path = tmp_path / "net.fw"
    x = torch.ones(1, 1, 28, 28)
    session = fw.compile(model, path, example_inputs=x, threads=1, tune=False)
    printed = ran(example, path)
    assert printed.returncode == 0, printed.stderr
    values = np.array(printed.stdout.split(), np.float32)
    np.testing.assert_allclose(values, session.run(x.numpy())[0], rtol=1e-4)
    with torch.no_grad():
        np.testing.assert_allclose(values, model(x)[0].numpy(), rtol=1e-3, atol=1e-3)


def test_it_says_what_is_wrong(example: Path, tmp_path: Path) -> None:
    missing = ran(example, tmp_path / "missing.fw")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "missing.fw" in missing.stderr
    (tmp_path / "not.fw").write_bytes(b"nothing of the kind")
    assert ran(example, tmp_path / "not.fw").returncode == 1
    assert ran(example).stderr.startswith("usage: ")


def test_it_is_short() -> None:
    assert len((NATIVE / "c" / "example.c").read_text().splitlines()) <= 50
