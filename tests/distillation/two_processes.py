"""Starts a script in two processes that are one group, on gloo."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path


def run_in_two(script, out):
    """Return what each process wrote as JSON to the file that the script is told, ``out`` and its rank."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ACCELERATE_", "MASTER_"))}
    process = subprocess.Popen(
        [*launcher, f"--master-port={_port()}", str(script), str(out)],
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


def _port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def imported(script):
    """Return a script as a module, without running what it does as a script."""
    spec = importlib.util.spec_from_file_location(f"featherweight_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
