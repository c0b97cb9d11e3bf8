"""Version, help, exit codes, and errors that are answers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import featherweight
from featherweight.cli import anatomy, contents
from featherweight.cli.choices import choices
from featherweight.cli.failures import CheckFailed, resumable
from featherweight.distillation.losses import losses
from featherweight.errors import SettingError
from featherweight.sparsity.allocation import allocations
from featherweight.sparsity.criteria import criteria
from featherweight.sparsity.oneshot import methods
from featherweight.sparsity.patterns import patterns
from featherweight.sparsity.schedules import schedules
from featherweight.structured.depth.importance import block_importances
from featherweight.structured.importance import importances


def test_version(invoke):
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"featherweight {featherweight.__version__}\n")


@pytest.mark.parametrize(
    "words", [["--help"], ["demo", "--help"], ["inspect", "--help"], ["prune", "--help"]]
)
def test_help_imports_no_torch(words):
    code = (
        "import sys\nfrom featherweight.cli import main\n"
        f"sys.argv = ['featherweight', *{words}]\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'matplotlib', 'jinja2'} & sys.modules.keys()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "--help" in ran.stdout


def test_the_command_is_installed():
    ran = subprocess.run(
        [sys.executable, "-c", "from importlib.metadata import entry_points as e;"
         "e(group='console_scripts')['featherweight'].load()()", "--version"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stdout.startswith("featherweight "), ran.stderr


def raising(error):
    def call(*_):
        raise error

    return call


def test_an_error_is_one_message(refused, monkeypatch):
    monkeypatch.setattr(anatomy, "show_network", raising(SettingError("no such thing")))
    assert refused("inspect", "a:b") == "Error: no such thing\n"


def test_debug_shows_the_traceback(invoke, monkeypatch):
    monkeypatch.setenv("FEATHERWEIGHT_DEBUG", "1")
    monkeypatch.setattr(anatomy, "show_network", raising(SettingError("no such thing")))
    result = invoke("inspect", "a:b")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("Error: no such thing\n")


def test_debug_is_an_option_too(invoke, monkeypatch):
    monkeypatch.setattr(anatomy, "show_network", raising(SettingError("no such thing")))
    assert "Traceback" in invoke("--debug", "inspect", "a:b").stderr
    assert "Traceback" not in invoke("inspect", "a:b").stderr


@pytest.mark.parametrize(
    ("axis", "registry"),
    [
        ("sparsity/criteria", criteria),
        ("sparsity/allocation", allocations),
        ("sparsity/patterns", patterns),
        ("sparsity/schedules", schedules),
        ("sparsity/oneshot", methods),
        ("structured/importance", importances),
        ("structured/depth/importance", block_importances),
        ("distillation/losses", losses),
    ],
)
def test_help_names_every_method_that_there_is(axis, registry):
    assert choices(axis).split(", ") == list(registry)


def test_help_shows_the_choices(invoke):
    said = " ".join(invoke("prune", "--help").stdout.replace("│", " ").split())
    axes = ("sparsity/criteria", "sparsity/allocation", "sparsity/patterns", "sparsity/schedules")
    for axis in (
        *axes,
        "sparsity/oneshot",
        "structured/importance",
        "structured/depth/importance",
        "distillation/losses",
    ):
        assert f": {choices(axis)}" in said
    said = " ".join(invoke("distill", "--help").stdout.replace("│", " ").split())
    assert f": {choices('distillation/losses')}" in said
    said = " ".join(invoke("inspect", "--help").stdout.replace("│", " ").split())
    assert f": {choices('structured/importance')}" in said


def test_a_failed_check_is_exit_code_1(invoke, monkeypatch):
    monkeypatch.setattr(anatomy, "show_network", raising(CheckFailed("they differ")))
    result = invoke("inspect", "a:b")
    assert (result.exit_code, result.stderr) == (1, "Check failed: they differ\n")


def test_ctrl_c_is_exit_code_130(invoke, monkeypatch):
    monkeypatch.setattr(anatomy, "show_network", raising(KeyboardInterrupt()))
    result = invoke("inspect", "a:b")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


def test_ctrl_c_says_how_to_go_on():
    with pytest.raises(KeyboardInterrupt, match=r"Interrupted\. Do it again\."), resumable("Do it again."):
        raise KeyboardInterrupt


def test_a_bug_is_not_hidden(folder, monkeypatch):
    from typer.testing import CliRunner

    from featherweight.cli import app

    monkeypatch.setattr(anatomy, "show_network", raising(ZeroDivisionError()))
    assert isinstance(CliRunner().invoke(app, ["inspect", "a:b"]).exception, ZeroDivisionError)


def test_what_is_missing_says_what_to_install(refused, monkeypatch):
    error = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    monkeypatch.setattr(contents, "show_file", raising(error))
    assert "pip install 'featherweight[torch]'" in refused("inspect", "a.safetensors")


DISTILL = ["distill", "--teacher", "a:b", "--student", "a:b", "--data", "a:b"]


@pytest.mark.parametrize("command", [["inspect", "a:b"], ["prune", "a:b"], ["demo"], DISTILL])
def test_a_json_file_that_cannot_be_written_is_refused_first(refused, command):
    assert "--json 'nowhere/a.json': its folder does not exist" in refused(
        *command, "--json", "nowhere/a.json"
    )
