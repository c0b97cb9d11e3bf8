"""The Trainer of Lightning in two processes on gloo learns what it does in one with the whole batches."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("lightning") is None:
    pytest.skip("lightning is not installed: pip install -r the extra dev", allow_module_level=True)

from tests.distillation.two_processes import imported, run_in_two

SCRIPT = Path(__file__).with_name("processes_lightning.py")
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


@pytest.fixture(scope="module")
def alone():
    return imported(SCRIPT).runs(1, 8)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return run_in_two(SCRIPT, tmp_path_factory.mktemp("pair") / "out")


@pytest.mark.slow
@pytest.mark.parametrize("run", ["hints", "half batches", "features alone"])
def test_two_processes_are_one(pair, alone, run):
    first, second, one = pair[0][run], pair[1][run], alone[run]
    assert (first["processes"], one["processes"]) == (2, 1)
    assert first["student"] == second["student"]
    assert first["projectors"] == second["projectors"]
    epochs = np.reshape(one["losses"], (2, -1)).mean(1)
    assert epochs[1] < epochs[0]
    mean = np.add(first["losses"], second["losses"]) / 2
    np.testing.assert_allclose(mean, one["losses"], rtol=1e-5)
    np.testing.assert_allclose(first["student"], one["student"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(first["projectors"], one["projectors"], rtol=1e-3, atol=1e-5)
    assert one["projectors"] != one["projectors at first"]
