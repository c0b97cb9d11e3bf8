"""Settings: their hash is the same in every process, another one for others; wrong ones are refused."""

import functools
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import featherweight as fw
from featherweight.errors import SettingError, UnknownNameError
from featherweight.sparsity.allocation import PerLayer
from featherweight.sparsity.lottery.experiment import Experiment
from featherweight.sparsity.lottery.identity import digest, named

LENET = {"network": "lenet_300_100", "data": "fashion_mnist"}


def test_the_hash_is_pinned():
    """Another one here means that everybody's folders of records are of another experiment."""
    experiment = Experiment(**LENET, settings=fw.TrainingSettings(epochs=5))
    assert experiment.hash == "aad75fb9167d"
    assert experiment.key("ticket", 0) == "5478af473cf5"


def test_the_hash_is_the_same_in_another_process(toy):
    code = "import lottery_toy; print(lottery_toy.experiment(network=lottery_toy.Net(24)).hash)"
    folder = os.path.dirname(toy.__file__)
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": folder}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert ran.stdout.strip() == toy.experiment(network=toy.Net(24)).hash


def changed(toy):
    other = {
        "network": toy.Net(), "data": toy.broken, "levels": 3, "fraction": 0.3, "output_fraction": 0.1,
        "rewind": 0.05, "branches": ("ticket",), "seeds": (1,), "settings": toy.settings(epochs=4),
        "allocation": "uniform", "skip": ("0",),
    }  # fmt: skip
    assert other.keys() == set(Experiment.__dataclass_fields__)
    return other


def test_every_setting_is_part_of_the_hash(toy):
    base = toy.experiment()
    hashes = {replace(base, **{name: value}).hash for name, value in changed(toy).items()}
    assert len(hashes | {base.hash}) == len(Experiment.__dataclass_fields__) + 1


def test_what_does_not_change_a_training_is_not_part_of_its_key(toy):
    base = toy.experiment()
    for same in (
        replace(base, levels=9),
        replace(base, branches=("dense",)),
        replace(base, seeds=(4, 5)),
        replace(base, settings=toy.settings(seed=9, checkpoint_every=7)),
    ):
        assert same.key("ticket", 0) == base.key("ticket", 0)
    assert len({base.key(b, s) for b in ("ticket", "dense") for s in (0, 1)}) == 4


def test_names_are_those_of_functions_and_values(toy):
    assert named("network", toy.net) == "lottery_toy:net"
    assert named("network", functools.partial(toy.Net, width=4)) == {
        "partial": "lottery_toy:Net", "args": [], "keywords": {"width": 4}
    }  # fmt: skip
    assert named("network", toy.Net(8)) == {"kind": "lottery_toy:Net", "fields": {"width": 8}}
    assert named("data", fw.lottery.Data("mine", [1], [1])) == {
        "kind": "featherweight.sparsity.lottery.data:Data", "fields": {"name": "mine"}
    }  # fmt: skip
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


@pytest.mark.parametrize("thing", [lambda: torch.nn.Linear(2, 2), functools.partial(lambda: 1)])
def test_what_has_no_name_is_refused(toy, thing):
    with pytest.raises(SettingError, match="no name that is the same in every process"):
        toy.experiment(network=thing)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("levels", 0, "levels is a whole number of at least 1, got 0"),
        ("levels", 2.0, "levels is a whole number"),
        ("fraction", 0, "fraction of what is left goes at each level, between 0 and 1, got 0"),
        ("fraction", 1.0, "between 0 and 1"),
        ("fraction", True, "between 0 and 1"),
        ("output_fraction", 1, "output_fraction of what is left"),
        ("rewind", -1, "rewind is 0"),
        ("rewind", 1.0, "a fraction of the run such as 0.05"),
        ("rewind", "weights", "or 'learning rate'; got 'weights'"),
        ("rewind", True, "got True"),
        ("branches", (), "branches are at least one"),
        ("branches", ("ticket", "ticket"), "none of them twice"),
        ("seeds", (), "seeds are at least one"),
        ("seeds", (-1,), "seeds are whole numbers of at least 0"),
        ("seeds", (0.5,), "seeds are whole numbers"),
        ("allocation", {"0.weight": 0.5}, "cannot be used level by level"),
        ("allocation", PerLayer({"0.weight": 0.5}), "cannot be used level by level"),
        ("data", 7, "data= is a data set of the zoo by name"),
        ("network", "resnet21", "network='resnet21' is not an untrained network of the zoo"),
        ("network", torch.nn.Linear(2, 2), "one network cannot be drawn again"),
    ],
)
def test_wrong_settings_are_refused(toy, setting, value, words):
    with pytest.raises(SettingError, match=words):
        toy.experiment(**{setting: value})


@pytest.mark.parametrize(("setting", "value"), [("branches", "tickets"), ("allocation", "globe")])
def test_unknown_names_list_the_choices(toy, setting, value):
    with pytest.raises(UnknownNameError, match="Did you mean"):
        toy.experiment(**{setting: value})


def test_an_experiment_is_run_one_by_one_too(toy):
    parts = list(toy.experiment(seeds=(0, 1), branches=("ticket", "dense")).each())
    assert [(p.seeds, p.branches) for p in parts] == [
        ((0,), ("ticket",)), ((0,), ("dense",)), ((1,), ("ticket",)), ((1,), ("dense",))
    ]  # fmt: skip


def test_a_single_seed_or_branch_needs_no_tuple(toy):
    experiment = toy.experiment(seeds=3, branches="ticket", skip="0")
    assert (experiment.seeds, experiment.branches, experiment.skip) == ((3,), ("ticket",), ("0",))
