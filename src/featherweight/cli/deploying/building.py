"""Compile a network: what is asked for, and what is said of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from featherweight.cli.output import say, show, write_json
from featherweight.compiling import compile as compile_network
from featherweight.errors import OnnxError
from featherweight.runtime import RunProfile, Session


@dataclass(frozen=True)
class Build:
    """What is asked for; see ``featherweight compile --help``."""

    model: str
    out: Path
    weights: Path | None
    input_shape: tuple[str, ...]
    threads: int | None
    isa: str | None
    tune: bool


def run_build(asked: Build, json_file: Path | None) -> None:
    """Compile, print what came of it, and write the record.

    Raises:
        OnnxError: there is no such file, or it cannot be read.
        UnsupportedError: the runtime lacks operators of the network; nothing is written.
    """
    network, example = _network(asked)
    start = perf_counter()
    session = compile_network(
        network, asked.out, example_inputs=example, threads=asked.threads, isa=asked.isa, tune=asked.tune
    )
    seconds = perf_counter() - start
    profile = session.profile()
    show(profile.table(slowest_first=True))
    done = 1 - (profile.sparsity or 0.0)
    say(f"{asked.out}: {asked.out.stat().st_size:,} bytes, compiled in {seconds:.1f} s")
    where = f"{_threads(session.threads)}, {session.isa}"
    say(f"{profile.milliseconds:.3f} ms, batch 1, {where}; {done:.1%} of the MACs are done")
    record = {
        "model": asked.model,
        "file": str(asked.out),
        "bytes": asked.out.stat().st_size,
        "seconds": seconds,
        "tuned": asked.tune,
        "inputs": [asdict(value) for value in session.inputs],
        "outputs": list(session.output_names),
    }
    write_json(json_file, record | profile_record(session, profile))


def profile_record(session: Session, profile: RunProfile) -> dict[str, Any]:
    """Return what a profile says, as JSON values."""
    return {
        "isa": session.isa,
        "threads": session.threads,
        "ms": profile.milliseconds,
        "kernels": dict(Counter(row.kernel for row in profile.rows)),
        "gflops": profile.gflops,
        "operations": [
            asdict(row) | {"sparsity": row.sparsity, "gflops": row.gflops} for row in profile.rows
        ],
    }


def _network(asked: Build) -> tuple[Any, Any]:
    """Return what is compiled, and example inputs where it is a network in Python."""
    if asked.model.endswith(".onnx"):
        if not Path(asked.model).is_file():
            raise OnnxError(f"{asked.model!r}: there is no such file.")
        return Path(asked.model), None
    from featherweight.cli.example import example_of
    from featherweight.cli.network import make_network

    model = make_network(asked.model, asked.weights)
    return model, example_of(asked.model, model, asked.input_shape, None, "To export the network")


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
