"""Fetching the data set: found, unpacked without root, or said to be missing; never a failure."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from featherweight.zoo.data.fashion_mnist import FILES
from featherweight.zoo.data.idx_set import FOUR_FILES, data_folders

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_data.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Return the script, on a machine with no data set and no command."""
    spec = importlib.util.spec_from_file_location("fetch_data", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SYSTEM_FOLDER", tmp_path / "nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FEATHERWEIGHT_DATA", raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    return module


def command(tmp_path: Path, name: str, body: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin\n{body}\n")
    path.chmod(0o755)


def test_looks_where_the_loader_looks(script: ModuleType) -> None:
    assert script.cache_folder() in data_folders("fashion_mnist")
    assert sorted(script.FILES) == sorted(f"{name}.gz" for name in FOUR_FILES)
    text = SCRIPT.read_text()
    assert all(folder in text for folder in FILES.folders)
    assert script.PACKAGE in FILES.hint


def test_says_what_is_used_where_nothing_can_be_had(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    script.main()
    assert "scikit-learn's bundled digits" in capsys.readouterr().out


def test_files_that_are_there_are_left_alone(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine" / "fashion_mnist"
    folder.mkdir(parents=True)
    for name in FOUR_FILES:
        (folder / name).touch()
    monkeypatch.setenv("FEATHERWEIGHT_DATA", str(tmp_path / "mine"))
    script.main()
    assert capsys.readouterr().out == f"Fashion-MNIST: {folder}\n"


def test_one_missing_file_is_not_found(script: ModuleType) -> None:
    folder = script.cache_folder()
    folder.mkdir(parents=True)
    for name in FOUR_FILES[:3]:
        (folder / name).touch()
    assert script.found() is None


def test_package_is_unpacked_into_the_cache(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(tmp_path, "apt-get", "touch package.deb")
    names = " ".join(script.FILES)
    command(
        tmp_path,
        "dpkg",
        f'mkdir -p "$3/usr/share" && cd "$3/usr/share" && for f in {names}; do echo $f > $f; done',
    )
    script.main()
    assert "from the Debian package" in capsys.readouterr().out
    assert script.found() == script.cache_folder()
    assert sorted(path.name for path in script.cache_folder().iterdir()) == sorted(script.FILES)


def test_lists_are_updated_privately_where_apt_does_not_know_the_package(
    script: ModuleType, tmp_path: Path
) -> None:
    command(
        tmp_path, "apt-get", 'case "$*" in -o*download*) touch package.deb;; *update*) ;; *) exit 100;; esac'
    )
    assert not script.download(tmp_path, ())
    assert script.download(tmp_path, script.private_apt(tmp_path))


@pytest.mark.parametrize("broken", ["exit 100", "true", "touch package.deb"])
def test_a_failure_is_said_not_raised(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    command(tmp_path, "apt-get", broken)
    command(tmp_path, "dpkg", "exit 2")
    script.main()
    assert "cannot be had here" in capsys.readouterr().out
    assert not script.cache_folder().exists()
