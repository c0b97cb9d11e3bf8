"""The same call under torchrun and accelerate launch, on gloo: one process with twice the batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from featherweight.errors import ResumeError, TrainingError
from featherweight.training import fit, parallel

SCRIPT = str(Path(__file__).with_name("toy.py"))


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def torchrun(*arguments):
    return launch(
        "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port()}", SCRIPT, *arguments
    )


def accelerate(*arguments):
    # --cpu would start one process: Accelerate leaves several on the CPU to mpirun.
    options = ["--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no"]
    options += ["--dynamo_backend=no", f"--main_process_port={port()}"]
    return launch("accelerate.commands.launch", *options, SCRIPT, *arguments)


def launch(module, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ACCELERATE_", "MASTER_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=environment | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher ends its processes; killed, it would leave them
        process.communicate(timeout=60)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def alone(toy, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "out"
    toy.main(["--batch", "16", "--out", str(out)])
    return json.loads(Path(f"{out}.0").read_text())


def check_two(out, alone):
    first, second = (json.loads(Path(f"{out}.{rank}").read_text()) for rank in (0, 1))
    assert first["digest"] == second["digest"]
    assert first["losses"] == second["losses"]
    np.testing.assert_allclose(first["losses"], alone["losses"], rtol=1e-5)
    np.testing.assert_allclose(first["weights"], alone["weights"], rtol=1e-3, atol=1e-5)
    zeros = np.array(first["weights"]) == 0
    assert zeros.mean() == 0.5
    assert (zeros == (np.array(alone["weights"]) == 0)).all()
    assert first["validation"] == alone["validation"]  # 37 examples on two processes, each counted once
    assert first["steps"] == alone["steps"]
    return first


@pytest.mark.slow
def test_torchrun(tmp_path, alone):
    done = torchrun("--batch", 8, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    check_two(tmp_path / "out", alone)
    assert done.stderr.count("epoch 3/3") == 1  # one process speaks


@pytest.mark.slow
def test_accelerate_launch_resumed_after_a_crash(tmp_path, alone):
    done = accelerate("--batch", 8, "--run-dir", tmp_path / "run", "--crash-at", 9, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert check_two(tmp_path / "out", alone)["resumed_from"] == [1, 2]


def test_processes_that_would_train_by_themselves_are_refused(toy, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)  # so that the CPU is not asked for
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="started 2 processes, but Accelerate was set up before for 1"):
        fit(toy.Net(), *toy.loaders(), progress=False)


def test_processes_that_read_different_checkpoints_are_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "from_each", lambda accelerator, mine: [mine, {"progress": {"epoch": 1}}])
    with pytest.raises(ResumeError, match="must be one folder that all of them see"):
        fit(toy.Net(), *toy.loaders(), run_dir=tmp_path, progress=False)
