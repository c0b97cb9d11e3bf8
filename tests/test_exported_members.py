"""The public names, pinned: adding or losing one is a decision, written down here."""

from __future__ import annotations

import subprocess
import sys

import pytest

import featherweight as fw

PUBLIC = [
    "FeatherweightError",
    "Masks",
    "Profile",
    "Pruner",
    "TrainingSettings",
    "artifact",
    "compile",
    "count_params",
    "distill",
    "distillation",
    "errors",
    "evaluate",
    "export_onnx",
    "fit",
    "load",
    "load_data",
    "load_model",
    "lottery",
    "profile",
    "progressive_prune",
    "progressive_prune_structured",
    "prune",
    "prune_oneshot",
    "prune_structured",
    "reestimate_batch_norm",
    "runtime",
    "save",
    "schedules",
    "sensitivity",
    "sparsity",
    "structured",
    "training",
    "zoo",
]
FUNCTIONS = [
    *(
        "compile",
        "count_params",
        "distill",
        "evaluate",
        "export_onnx",
        "fit",
        "load",
        "load_data",
        "load_model",
    ),
    *("profile", "progressive_prune", "progressive_prune_structured"),
    *("prune", "prune_structured", "reestimate_batch_norm", "save", "sensitivity"),
]


def test_public_names() -> None:
    assert sorted(fw.__all__) == PUBLIC
    assert dir(fw) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_there_and_documented(name: str) -> None:
    assert getattr(fw, name).__doc__


@pytest.mark.parametrize("first", ["distillation", "evaluate", "progressive_prune", "sensitivity", "zoo"])
def test_functions_stay_functions_whatever_was_used_first(first: str) -> None:
    """A module of the name of a function (profile, prune) must not take its place once it is imported."""
    code = (
        f"import featherweight as fw; fw.{first}\n"
        f"wrong = [name for name in {FUNCTIONS} if not callable(getattr(fw, name))]\n"
        f"assert not wrong, wrong"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_schedules_are_classes_to_choose_from() -> None:
    """``fw.schedules`` is the module, not the registry of the same name in it."""
    assert fw.schedules.Cubic(begin=0, end=1000, every=10).end == 1000


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'featherweight' has no attribute 'prunes'"):
        _ = fw.prunes


def test_modules_are_modules() -> None:
    """``schedules`` is also the name of a registry inside that module."""
    assert fw.schedules.Cubic(begin=0, end=10, every=1).updates_at(10)
    assert fw.sparsity.criteria.criteria["magnitude"]
