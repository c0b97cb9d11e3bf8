"""Runs a script in two processes that are one group, on gloo."""

import subprocess
import sys


def run_in_two(folder, script):
    """Run the text of a script; each process prints "ok" where it found what it looks for."""
    path = folder / "script.py"
    path.write_text(script)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run([*launch, str(path)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("ok") == 2
