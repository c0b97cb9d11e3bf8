"""`python -m benchmarks` lists and runs what is in the folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Return the runner, over a folder with one benchmark that ends well and one that fails."""
    spec = importlib.util.spec_from_file_location("runner", ROOT / "benchmarks" / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    written = 'import sys\nif __name__ == "__main__":\n    '
    (folder / "good.py").write_text(
        f'"""Measures good.\n\nMore."""\n{written}open("ran", "w").write(" ".join(sys.argv[1:]))\n'
    )
    (folder / "bad.py").write_text(f'"""Measures bad."""\n{written}sys.exit(3)\n')
    (folder / "_shared.py").write_text("")
    monkeypatch.setattr(module, "FOLDER", folder)
    monkeypatch.setattr(module, "QUICK", ("good",))
    return module


def test_lists_every_benchmark_with_its_first_line(
    runner: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner.main(["--list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["bad", "Measures", "bad."], ["good", "quick", "Measures", "good."]]


def test_runs_the_quick_ones_and_hands_arguments_on(runner: ModuleType, tmp_path: Path) -> None:
    assert runner.main(["--", "--json", "out"]) == 0
    assert (tmp_path / "ran").read_text() == "--json out"


def test_a_failure_is_told(runner: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["bad", "good"]) == 1
    assert "Failed: bad" in capfd.readouterr().err


def test_an_unknown_name_lists_the_choices(runner: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["goood"]) == 2
    assert "There are: bad, good." in capsys.readouterr().err
