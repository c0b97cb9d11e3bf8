"""The command of benchmarks whose runs are records: what is missing is run once, smoke leaves nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from benchmarks._command import command, kept_unless_smoke, run_missing
from benchmarks._queue import of_every_seed, perform_all, records

from benchmarks import _command


@dataclass(frozen=True)
class Run:
    name: str
    seed: int


RUNS = [Run("a", 0), Run("a", 1), Run("b", 0)]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Do runs in this process, and note which."""
    noted: list[Run] = []

    def now(runs: list[Run], perform: Any, path: Path, *rest: Any, **how: Any) -> None:
        noted.extend(runs)
        with path.open("a") as file:
            file.writelines(json.dumps(perform(run)) + "\n" for run in runs)

    monkeypatch.setattr(_command, "perform_all", now)
    return noted


def test_what_is_missing_is_run_once(done: list[Run], tmp_path: Path) -> None:
    args = command("What.", tmp_path / "r.jsonl").parse_args([])
    run_missing(args, RUNS[:1], asdict, ("name",))
    found = run_missing(args, RUNS, asdict, ("name",))
    assert done == RUNS
    assert found == records(tmp_path / "r.jsonl") == [asdict(run) for run in RUNS]
    assert of_every_seed(found, Run("a", 7)) == [asdict(run) for run in RUNS[:2]]


def test_the_table_alone_runs_nothing(done: list[Run], tmp_path: Path) -> None:
    args = command("What.", tmp_path / "r.jsonl").parse_args(["--table"])
    assert run_missing(args, RUNS, asdict, ("name",)) == []
    assert not done


def test_a_smoke_run_has_its_own_settings_and_leaves_nothing(done: list[Run], tmp_path: Path) -> None:
    parser = command("What.", tmp_path / "r.jsonl", smoke="a little")
    parser.add_argument("--seeds", type=int, default=3)
    with kept_unless_smoke(parser.parse_args(["--smoke"]), seeds=1) as args:
        assert args.seeds == 1
        run_missing(args, RUNS, asdict, ("name",))
        assert len(records(args.results)) == 3
    assert not args.results.exists()
    assert not list(tmp_path.iterdir())
    with kept_unless_smoke(parser.parse_args([]), seeds=1) as args:
        assert (args.seeds, args.results) == (3, tmp_path / "r.jsonl")


def double(run: Run) -> dict[str, Any]:
    if run.name == "b":
        raise RuntimeError("no memory")
    return {**vars(run), "seconds": 1.0, "test": 0.5}


def test_a_run_that_breaks_off_does_not_take_the_others_along(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="1 of 3 runs broke off"):
        perform_all([RUNS[2], *RUNS[:2]], double, tmp_path / "r.jsonl", 1, ("name",), fresh=False)
    assert [record["seed"] for record in records(tmp_path / "r.jsonl")] == [0, 1]
