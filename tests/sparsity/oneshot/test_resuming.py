"""A run that fails gives everything back; one that was interrupted goes on."""

import json

import numpy as np
import pytest
import torch
from oneshot_toy import quietly, same, state, trained

from featherweight.errors import ArtifactError, ResumeError
from featherweight.sparsity.oneshot import methods


class Fails(Exception):  # noqa: N818
    pass


def failing(after):
    calls = []

    def method(problem):
        calls.append(problem)
        if len(calls) > after:
            raise Fails
        return methods["sparsegpt"](problem)

    method.__qualname__ = "method"
    return method


@pytest.mark.parametrize("error", [Fails, KeyboardInterrupt])
def test_a_failure_gives_everything_back(error, monkeypatch):
    model, data = trained("convolutional")
    before = state(model)

    def fail(problem, count=[0]):  # noqa: B006
        count[0] += 1
        if count[0] == 3:
            raise error
        return methods["sparsegpt"](problem)

    with pytest.raises(error):
        quietly(model, 0.5, data, method=fail)
    assert same(state(model), before)


def test_an_interrupted_run_goes_on(tmp_path):
    model, data = trained("convolutional")
    before = state(model)
    with pytest.raises(Fails):
        quietly(model, 0.5, data, method=failing(3), run_dir=tmp_path / "run")
    assert same(state(model), before)
    assert len(list((tmp_path / "run").glob("*.safetensors"))) == 3
    masks = quietly(model, 0.5, data, method=failing(2), run_dir=tmp_path / "run")  # two are left
    other, _ = trained("convolutional")
    expected = quietly(other, 0.5, data, method=failing(9))
    assert same(state(model), state(other))
    assert [layer.name for layer in masks.layers] == [layer.name for layer in expected.layers]


def test_going_on_with_other_data_is_warned(tmp_path):
    model, data = trained("linear")
    others = [*data[:-1], (data[-1][0] + 0.01, data[-1][1])]
    with pytest.raises(Fails):
        quietly(model, 0.5, data, method=failing(1), run_dir=tmp_path)
    with pytest.warns(UserWarning, match="pruned for other data than these"), pytest.raises(Fails):
        quietly(model, 0.5, others, method=failing(1), run_dir=tmp_path)
    with pytest.warns(UserWarning, match="pruned for other data than these"):  # the second layer was
        quietly(model, 0.5, data, method=failing(1), run_dir=tmp_path)


def test_going_on_with_the_same_data_is_not(tmp_path):
    for _ in range(2):
        model, data = trained("linear")
        quietly(model, 0.5, [(x.clone(), y) for x, y in data], run_dir=tmp_path)


def test_losses_have_no_data_to_compare(tmp_path):
    for factor in (1, 2):
        model, data = trained("linear")
        batches = [factor * x for x, _ in data]
        quietly(model, 0.5, lambda m, batches=batches: (m(x).sum() for x in batches), run_dir=tmp_path)


def test_a_run_of_other_settings_or_another_network_is_refused(tmp_path):
    model, data = trained("linear")
    quietly(model, 0.5, data, run_dir=tmp_path)
    model, _ = trained("linear")
    with pytest.raises(ResumeError, match="another kept"):
        quietly(model, 0.6, data, run_dir=tmp_path)
    with pytest.raises(ResumeError, match="another damping"):
        quietly(model, 0.5, data, damping=0.1, run_dir=tmp_path)
    with torch.no_grad():
        model[0].weight[0, 0] += 1
    before = state(model)
    with pytest.raises(ResumeError, match="another network"):
        quietly(model, 0.5, data, run_dir=tmp_path)
    assert same(state(model), before)


def test_a_run_without_a_finished_layer_leaves_its_place(tmp_path):
    model, data = trained("linear")
    with pytest.raises(Fails):
        quietly(model, 0.5, data, method=failing(0), run_dir=tmp_path)
    masks = quietly(model, 0.6, data, run_dir=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == len(masks.layers)
    with pytest.raises(ResumeError, match="another method"):
        quietly(model, 0.6, data, method="obs", run_dir=tmp_path)


class Mine:
    def __init__(self, calls):
        self.calls = calls

    def __call__(self, problem):
        self.calls.append(problem)
        return methods["sparsegpt"](problem)


def test_a_method_that_is_an_object_goes_on_with_another_of_its_kind(tmp_path):
    calls = []
    for _ in range(2):
        model, data = trained("linear")
        masks = quietly(model, 0.5, data, method=Mine(calls), run_dir=tmp_path)
    assert len(calls) == len(masks.layers)


def test_settings_may_be_numbers_of_numpy(tmp_path):
    for damping in (np.float32(0.5), 0.5):
        model, data = trained("linear")
        quietly(model, 0.5, data, damping=damping, run_dir=tmp_path)


def test_damaged_files_of_a_run_are_named(tmp_path):
    model, data = trained("linear")
    quietly(model, 0.5, data, run_dir=tmp_path)
    model, _ = trained("linear")
    before = state(model)
    (tmp_path / "0001.safetensors").write_bytes(b"nothing")
    with pytest.raises(ResumeError, match=r"0001\.safetensors is not a finished layer"):
        quietly(model, 0.5, data, run_dir=tmp_path)
    assert same(state(model), before)
    (tmp_path / "0000.safetensors").replace(tmp_path / "0001.safetensors")
    with pytest.raises(ResumeError, match="expected"):
        quietly(model, 0.5, data, run_dir=tmp_path)
    (tmp_path / "settings.json").write_text("[")
    with pytest.raises(ResumeError, match="cannot be read"):
        quietly(model, 0.5, data, run_dir=tmp_path)
    (tmp_path / "settings.json").write_text(json.dumps([1]))
    with pytest.raises(ResumeError, match="no settings"):
        quietly(model, 0.5, data, run_dir=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ResumeError, match="is a file"):
        quietly(model, 0.5, data, run_dir=tmp_path / "file")
    with pytest.raises(ArtifactError, match="Cannot make the folder"):
        quietly(model, 0.5, data, run_dir=tmp_path / "file" / "run")


@pytest.mark.parametrize("skip", ["1", "0.bias"])
def test_a_run_that_leaves_other_norms_or_biases_alone_is_another_run(skip, tmp_path):
    model, data = trained("convolutional")
    with pytest.raises(Fails):
        quietly(model, 0.5, data, method=failing(2), run_dir=tmp_path)
    before = state(model)
    with pytest.raises(ResumeError, match=r"holds a run with another (batch norms|biases)"):
        quietly(model, 0.5, data, method=failing(9), run_dir=tmp_path, skip=[skip])
    assert same(state(model), before)
    quietly(model, 0.5, data, method=failing(9), run_dir=tmp_path).check(model)
