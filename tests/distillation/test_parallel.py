"""Two processes on gloo learn what one does with batches of twice the size."""

from pathlib import Path

import numpy as np
import pytest
from tests.distillation.two_processes import imported, run_in_two

SCRIPT = Path(__file__).with_name("processes.py")


@pytest.fixture(scope="module")
def script():
    return imported(SCRIPT)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What each of two processes found."""
    return run_in_two(SCRIPT, tmp_path_factory.mktemp("pair") / "out")


@pytest.mark.slow
def test_fit_is_that_of_one_process(pair, script):
    losses, weights = script.fitted(batch=16)
    assert pair[0]["fit"] == pair[1]["fit"]
    np.testing.assert_allclose(pair[0]["fit"][0], losses, rtol=1e-5)
    np.testing.assert_allclose(pair[0]["fit"][1], weights, rtol=1e-3, atol=1e-5)
    assert losses[1] < losses[0]


@pytest.mark.slow
def test_a_sharded_student_in_a_loop_of_ones_own_is_that_of_one_process(pair, script):
    alone = script.in_a_loop(1, 0, None)
    assert pair[0]["loop"] == pair[1]["loop"]
    np.testing.assert_allclose(pair[0]["loop"], alone, rtol=1e-5)
    assert alone[-1] < alone[0]
