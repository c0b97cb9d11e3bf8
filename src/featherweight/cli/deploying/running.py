"""Run a ``.fw`` file on arrays from files, or on noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featherweight.artifact import replacing
from featherweight.cli.deploying.building import profile_record
from featherweight.cli.output import remark, say, show, write_json
from featherweight.engines import InputSpec, in_turns
from featherweight.errors import SettingError
from featherweight.runtime import Session, load


@dataclass(frozen=True)
class Call:
    """What is asked for; see ``featherweight run --help``."""

    file: Path
    inputs: tuple[str, ...]
    batch: int
    out: Path | None
    threads: int | None
    isa: str | None
    profile: bool


def run_call(asked: Call, json_file: Path | None) -> None:
    """Run, print the outputs and the time, and write what is asked for.

    Raises:
        ArtifactError: the file is no compiled network.
        InputError: an input does not fit.
        SettingError: the outputs cannot be written in the form that the file's name asks for.
    """
    session = load(asked.file, threads=asked.threads, isa=asked.isa)
    if asked.out is not None:
        _check_form(asked.out, session.output_names)
    arrays = _arrays(asked, session)
    results = session.run(*arrays)
    outputs = results if isinstance(results, dict) else {session.output_names[0]: results}
    for name, array in outputs.items():
        say(f"{name}: {array.dtype} {tuple(array.shape)}{_summary(array)}")
    time = in_turns({"run": lambda: session.run(*arrays)}, seconds=0.5)["run"]
    say(f"{time} ms, {session.threads} thread(s), {session.isa}; median [quartiles] of {time.calls} runs")
    if asked.out is not None:
        _write(asked.out, outputs)
    record: dict[str, Any] = {"file": str(asked.file), "milliseconds": vars(time)}
    record["outputs"] = {n: {"dtype": str(a.dtype), "shape": list(a.shape)} for n, a in outputs.items()}
    if asked.profile:
        profile = session.profile(*arrays)
        show(profile.table(slowest_first=True))
        record["profile"] = profile_record(session, profile)
    write_json(json_file, record)


def _check_form(out: Path, names: Sequence[str]) -> None:
    if out.suffix == ".npz" or (out.suffix == ".npy" and len(names) == 1):
        return
    if out.suffix == ".npy":
        raise SettingError(
            f"--out {str(out)!r}: a .npy file holds one array, and the network gives {len(names)}: "
            f"{', '.join(names)}. Give the name of a .npz file."
        )
    raise SettingError(f"--out {str(out)!r}: give a name that ends in .npz, or .npy for one output.")


def _write(out: Path, outputs: dict[str, Any]) -> None:
    with replacing(out) as file:
        if out.suffix == ".npy":
            np.save(file, *outputs.values())
        else:
            np.savez(file, **outputs)


def _summary(array: np.ndarray[Any, Any]) -> str:
    if array.ndim != 2 or array.shape[1] < 2 or not np.issubdtype(array.dtype, np.floating):
        return ""
    best = np.argsort(-array[0], kind="stable")[:3]
    return "; largest of the first row: " + ", ".join(f"{i} ({array[0, i]:.4g})" for i in best)


def _arrays(asked: Call, session: Session) -> list[Any]:
    given = [_read(text) for text in asked.inputs]
    names = [name for name, _ in given if name]
    if len(names) not in (0, len(given)) or len(set(names)) < len(names):
        raise SettingError(
            f"--input is given once for each input, all with a name or none; got {asked.inputs}."
        )
    if names:
        return [dict(given)]
    if given:
        return [array for _, array in given]
    remark("No --input: the network runs on noise.")
    source = np.random.default_rng(0)
    return [InputSpec(i.name, i.dtype, i.shape).example(source, asked.batch) for i in session.inputs]


def _read(text: str) -> tuple[str, Any]:
    name, _, path = text.rpartition("=")
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SettingError(f"--input {text!r} is no .npy file that can be read: {error}") from error
    if not isinstance(array, np.ndarray):
        raise SettingError(
            f"--input {text!r} is a file of several arrays. Give each as a .npy file of its own."
        )
    return name, array
