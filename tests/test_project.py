"""What a clone holds besides code: pins, commands, licence, house limits."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import featherweight
from featherweight.runtime import fwfile

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def bare(requirement: str) -> str:
    """Return the name of a requirement, normalised."""
    return re.split(r"[\[<>=~! ;]", requirement, maxsplit=1)[0].lower().replace("_", "-").replace(".", "-")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {bare(name): version for name, version in pinned}


def test_every_direct_dependency_is_pinned() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    named = [*PROJECT["project"]["dependencies"], *extras["torch"], *extras["dev"], *extras["onnx"]]
    wanted = [name for name in named if bare(name) != "featherweight"]  # an extra of its own
    assert {bare(name) for name in wanted} <= pins().keys()


def test_torch_is_pinned_without_a_local_build() -> None:
    assert pins()["torch"] == "2.13.0"  # 2.13.0+cpu would not be found on another machine


def test_no_cuda_package_is_pinned() -> None:
    assert not [name for name in pins() if name.startswith(("nvidia", "cuda", "triton"))]


def test_base_install_has_no_torch() -> None:
    base = {bare(name) for name in PROJECT["project"]["dependencies"]}
    assert base == {"numpy", "safetensors", "zstandard", "typer", "rich"}


def test_one_version() -> None:
    assert PROJECT["project"]["version"] == featherweight.__version__
    header = (ROOT / "native" / "c" / "featherweight.h").read_text()
    assert f'#define FW_VERSION "{featherweight.__version__}" ' in header
    assert f"#define FW_FORMAT_VERSION {fwfile.VERSION} " in header


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"


@pytest.mark.parametrize("target", ["install", "demo", "test", "check", "bench", "docs"])
def test_make_knows(target: str) -> None:
    planned = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stderr


def test_ci_runs_the_tests_and_every_check() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    planned = subprocess.run(
        ["make", "-n", "check"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for tool in (
        "ruff check",
        "ruff format --check",
        "pyright",
        "lint-imports",
        "FEATHERWEIGHT_SANITIZE=ON",
        "ctest",
    ):
        assert tool in planned
    for target in ("make test", "make --keep-going check"):
        assert target in script.read_text()


def test_ci_fails_when_a_target_fails(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_bytes((ROOT / ".ci" / "run").read_bytes())
    (tmp_path / "Makefile").write_text("test:\n\t@false\ncheck:\n\t@echo checked\n")
    run = subprocess.run(["bash", tmp_path / ".ci" / "run"], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "FAILED: make test" in run.stderr
    assert "checked" in run.stdout  # the second target ran all the same


def test_ci_passes_when_all_pass(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_bytes((ROOT / ".ci" / "run").read_bytes())
    (tmp_path / "Makefile").write_text("test:\n\t@echo 1 passed\ncheck:\n\t@true\n")
    assert (
        subprocess.run(["bash", tmp_path / ".ci" / "run"], capture_output=True, check=False).returncode == 0
    )


def test_pre_commit_calls_tools_of_the_venv_only() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    tools = [hook["entry"].split()[0] for hook in config["repos"][0]["hooks"]]
    assert set(tools) == {".venv/bin/ruff", ".venv/bin/pyright", ".venv/bin/lint-imports"}


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in text


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_house_limits(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # pyright: ignore
            assert length <= 60, f"{path.name}: {node.name} has {length} lines, 60 are the very most"
