"""The real Trainer in two processes on gloo learns what it does in one with batches of twice the size."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers is not installed: pip install -r the extra dev", allow_module_level=True)

from tests.distillation.two_processes import imported, run_in_two

SCRIPT = Path(__file__).with_name("processes_hugging_face.py")


@pytest.fixture(scope="module")
def alone():
    return imported(SCRIPT).runs(batch=8)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return run_in_two(SCRIPT, tmp_path_factory.mktemp("pair") / "out")


@pytest.mark.slow
@pytest.mark.parametrize("run", ["hints", "features alone", "tokens"])
def test_two_processes_are_one(pair, alone, run):
    first, second, one = pair[0][run], pair[1][run], alone[run]
    assert (first["processes"], one["processes"]) == (2, 1)
    assert first["student"] == second["student"]
    assert first["projectors"] == second["projectors"]
    assert one["losses"][-1] < one["losses"][0] or run == "tokens"
    np.testing.assert_allclose(first["losses"], one["losses"], rtol=1e-5, atol=1e-4)  # they are rounded
    np.testing.assert_allclose(first["student"], one["student"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(first["projectors"], one["projectors"], rtol=1e-3, atol=1e-5)
    assert one["projectors"] != one["projectors at first"] or run == "tokens"
