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
def test_the_parameters_of_a_guidance_are_those_of_one_process(toy, tmp_path):
    """The second process makes other ones: it starts from those of the first."""
    toy.main(["--guided", "--batch", "16", "--out", str(tmp_path / "alone")])
    done = torchrun("--guided", "--batch", 8, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    first = check_two(tmp_path / "out", json.loads((tmp_path / "alone.0").read_text()))
    views = [json.loads(Path(f"{tmp_path / name}").read_text())["view"] for name in ("out.1", "alone.0")]
    assert first["view"] == views[0]
    np.testing.assert_allclose(first["view"], views[1], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_accelerate_launch_resumed_after_a_crash(tmp_path, alone):
    done = accelerate("--batch", 8, "--run-dir", tmp_path / "run", "--crash-at", 9, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert check_two(tmp_path / "out", alone)["resumed_from"] == [1, 2]


class Pair:
    """Two processes, of which the other one has gradients of 3."""

    num_processes, device = 2, torch.device("cpu")

    def reduce(self, values, how):
        assert how == "mean"
        return (values + torch.tensor([3.0, 3, 3, 0, 0, 1, 1, 0])) / 2


def test_gradients_are_averaged_where_there_are_any():
    both, other, none = (torch.nn.Parameter(torch.zeros(size)) for size in ((2, 1), 1, 2))
    both.grad = torch.ones(2, 1)
    parallel.average_gradients(Pair(), [both, other, none])
    assert both.grad.tolist() == [[2.0], [2.0]]
    assert other.grad.tolist() == [1.5]
    assert none.grad is None


def test_processes_that_would_train_by_themselves_are_refused(toy, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)  # so that the CPU is not asked for
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="started 2 processes, but Accelerate was set up before for 1"):
        fit(toy.Net(), *toy.loaders(), progress=False)


def test_processes_that_read_different_checkpoints_are_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "from_each", lambda accelerator, mine: [mine, {"progress": {"epoch": 1}}])
    with pytest.raises(ResumeError, match="must be one folder that all of them see"):
        fit(toy.Net(), *toy.loaders(), run_dir=tmp_path, progress=False)
