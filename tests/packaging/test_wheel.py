"""The wheel, as pip makes it, in environments of its own: with numpy alone, and with the base dependencies.

It is made in the build folder of ``make install``, whose objects are up to date: some twenty seconds, half of
them for pip to fetch what pyproject.toml builds with. Dependencies are linked from this environment.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from torch import nn

import featherweight as fw

ROOT = Path(__file__).parents[2]
X = np.random.default_rng(0).standard_normal((3, 3, 13, 11)).astype(np.float32)
UNREACHED = "Could not find a version that satisfies the requirement scikit-build-core"

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
import numpy as np
from time import perf_counter
begin = perf_counter()
import featherweight.runtime
print(f"import featherweight.runtime: {1e3 * (perf_counter() - begin):.1f} ms beyond numpy")
session = featherweight.runtime.load("net.fw", threads=1)
np.save("y.npy", session.run(np.load("x.npy")))
loaded = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
assert loaded == {"__main__", "numpy", "featherweight"}, loaded
assert featherweight.__file__.startswith(sys.prefix), featherweight.__file__
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel: one for all processes that tests are spread over, which would build in the same folder."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheel"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not list(folder.glob("*.whl")):
            built = pip("wheel", str(ROOT), "--no-deps", "--wheel-dir", str(folder))
            if UNREACHED in built.stderr and not os.environ.get("CI"):
                pytest.skip("pip reaches no registry to fetch scikit-build-core from")
            assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("featherweight-*.whl")
    return found


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, an input, and what PyTorch computes of it."""
    folder = tmp_path_factory.mktemp("network")
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.BatchNorm2d(16)),
        *(nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)),
    ).eval()
    fw.prune(model, 0.8)
    fw.compile(model, folder / "net.fw", example_inputs=torch.from_numpy(X), threads=1, tune=False)
    np.save(folder / "x.npy", X)
    with torch.no_grad():
        np.save(folder / "expected.npy", model(torch.from_numpy(X)).numpy())
    return folder


def test_the_wheel_holds_the_package_and_the_library(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    (library,) = {name for name in names if name.startswith("featherweight/_native.") and ".pyi" not in name}
    assert library.endswith(sysconfig.get_config_var("EXT_SUFFIX"))
    sources = {str(path.relative_to(ROOT / "src")) for path in files_of(ROOT / "src" / "featherweight")}
    assert names == sources | {library}


def test_a_file_runs_with_numpy_alone(wheel: Path, network: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", wheel, [distribution("numpy")])
    ran = run(python, "-I", "-W", "error", "-c", PROGRAM, folder=network)
    print(ran)
    np.testing.assert_allclose(
        np.load(network / "y.npy"), np.load(network / "expected.npy"), rtol=1e-4, atol=1e-5
    )


def test_nothing_else_is_in_that_environment(wheel: Path, tmp_path: Path) -> None:
    """A sabotage: without numpy the program must fail, or it found some other environment's packages."""
    python = environment(tmp_path / "venv", wheel, [])
    done = subprocess.run([python, "-I", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert "No module named 'numpy'" in done.stderr


def test_the_command_runs_with_the_base_dependencies(wheel: Path, network: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", wheel, closure(wheel))
    command = python.with_name("featherweight")
    said = run(
        *(command, "run", "net.fw", "-i", "x.npy", "-o", "y.npz", "--threads", "1", "--profile"),
        folder=network,
    )
    assert "GFLOP/s" in said
    with np.load(network / "y.npz") as outputs:
        (name,) = outputs.files
        np.testing.assert_allclose(outputs[name], np.load(network / "expected.npy"), rtol=1e-4, atol=1e-5)
    missing = "import importlib.util as u; assert not any(map(u.find_spec, ('torch', 'onnx', 'matplotlib')))"
    run(python, "-c", missing, folder=network)


def pip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False, cwd=ROOT
    )


def run(*words: str | Path, folder: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ran = subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def environment(folder: Path, wheel: Path, dependencies: list[Distribution]) -> Path:
    """Return the Python of a new environment with the wheel and some distributions of this environment."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    done = pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    assert done.returncode == 0, done.stdout + done.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    for dependency in dependencies:
        for file in dependency.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                link(Path(str(file.locate())), packages / file)
    return python


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def closure(wheel: Path) -> list[Distribution]:
    """Return what pip would install with the wheel, without extras, from this environment."""
    with zipfile.ZipFile(wheel) as file:
        (metadata,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        asked = re.findall(r"^Requires-Dist: (.*)$", file.read(metadata).decode(), re.MULTILINE)
    found: dict[str, Distribution] = {}
    waiting = list(needed(asked))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = distribution(name)
            waiting += needed(found[name].requires or [])
    return list(found.values())


def needed(requirements: list[str]) -> Iterator[str]:
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def files_of(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so":
            yield path
