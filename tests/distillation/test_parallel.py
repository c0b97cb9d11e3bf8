"""Two processes on gloo learn what one does with batches of twice the size."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("processes.py")


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("featherweight_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What each of two processes found."""
    out = tmp_path_factory.mktemp("pair") / "out"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ACCELERATE_", "MASTER_"))}
    process = subprocess.Popen(
        [*launcher, f"--master-port={port()}", str(SCRIPT), str(out)],
        env=environment | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, errors = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher ends its processes; killed, it would leave them
        process.communicate(timeout=60)
        raise
    assert process.returncode == 0, errors
    return [json.loads(Path(f"{out}.{rank}").read_text()) for rank in (0, 1)]


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
