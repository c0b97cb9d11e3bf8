"""What fw.prune_oneshot refuses, before anything is changed."""

import pytest
import torch
from oneshot_toy import quietly, same, state, trained
from torch import nn

from featherweight.errors import ModelError, SettingError, UnknownNameError
from featherweight.sparsity.allocation import PerLayer
from featherweight.sparsity.oneshot import Solution, methods


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"method": "sparsgpt"}, UnknownNameError, "Did you mean 'sparsegpt'"),
        ({"method": 3}, UnknownNameError, "No method is called 3"),
        ({"damping": -1}, SettingError, "damping is"),
        ({"damping": float("nan")}, SettingError, "damping is"),
        ({"damping": True}, SettingError, "damping is"),
        ({"damping": 0.01, "method": "magnitude"}, SettingError, "damping=0.01 would do nothing"),
        ({"damping": 0.1, "method": "wanda"}, SettingError, "method='wanda' leaves weights as they are"),
        ({"criterion": "magnitude"}, SettingError, "criterion='magnitude' would do nothing"),
        (
            {"criterion": "snip", "allocation": PerLayer({"0.*": 0.5}, "erk")},
            SettingError,
            "would do nothing",
        ),
        ({"criterion": "snip", "allocation": "erk"}, SettingError, "allocation='erk' looks at sizes alone"),
        ({"batches": 0}, SettingError, "batches is"),
        ({"batches": 1.5}, SettingError, "batches is"),
        ({"pattern": "4:2"}, SettingError, "N:M"),
        ({"pattern": lambda s, k: None, "method": "obs"}, SettingError, "takes the patterns"),
        ({"skip": ["nonesuch"]}, SettingError, "matches no parameter"),
        ({"sparsity": 1.0}, SettingError, "fraction of zeros"),
        ({"sparsity": 0.3, "pattern": "2:4"}, SettingError, "lowest sparsity"),
        ({"data": None}, SettingError, "prune_oneshot looks at data"),
        ({"data": []}, SettingError, "no batch"),
        ({"data": torch.ones(3)}, SettingError, "got a Tensor"),
    ],
)
def test_wrong_settings_are_refused_and_nothing_changes(settings, error, words):
    model, data = trained("linear", 0)
    before = state(model)
    with pytest.raises(error, match=words):
        quietly(model, **{"sparsity": 0.5, "data": data} | settings)
    assert same(state(model), before)


def test_inputs_that_are_not_finite_are_named_and_nothing_changes():
    model, data = trained("linear", 0)
    before = state(model)
    data[2][0][1, 1] = torch.nan
    with pytest.raises(ModelError, match=r"0\.weight: what reaches it is not finite"):
        quietly(model, 0.5, data)
    assert same(state(model), before)


def test_weights_that_no_data_reach_are_named():
    model = nn.LSTM(12, 8)
    with pytest.raises(ModelError, match=r"weight_ih_l0: lstm does not show.*skip="):
        quietly(model, 0.5, [(torch.randn(3, 2, 12), None)])
    wide = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)})
    wide.forward = wide["used"].forward
    with pytest.raises(ModelError, match=r"unused\.weight: nothing reached it"):
        quietly(wide, 0.5, [(torch.randn(3, 4), None)])
    quietly(wide, 0.5, [(torch.randn(3, 4), None)], skip=["unused"])


@pytest.mark.parametrize(
    ("weights", "keep", "words"),
    [
        (lambda w: w, lambda w: torch.ones_like(w).bool(), r"keeps 384 weights, at most 192"),
        (lambda w: w, lambda w: torch.zeros_like(w).bool(), "not zero where its mask"),
        (lambda w: w.flatten(), lambda w: torch.zeros_like(w).bool(), r"of shape \(384,\), expected"),
    ],
)
def test_what_a_method_gives_is_checked(weights, keep, words):
    def method(problem):
        return Solution(weights(problem.weights), keep(problem.weights))

    model, data = trained("linear", 0)
    before = state(model)
    with pytest.raises(ModelError, match=r"0\.weight: the method gave .*" + words):
        quietly(model, 0.5, data, method=method)
    assert same(state(model), before)


def test_weights_that_are_not_finite_are_refused():
    def infinite(problem):
        solution = methods["magnitude"](problem)
        return Solution(solution.weights.masked_fill(solution.keep, torch.inf), solution.keep)

    model, data = trained("linear", 0)
    with pytest.raises(ModelError, match="not finite: raise damping="):
        quietly(model, 0.5, data, method=infinite)


def test_a_criterion_and_a_damping_do_something_where_they_are_taken():
    kept, errors = {}, {}
    for criterion in ("magnitude", "random"):
        masks = quietly(
            trained("linear")[0], 0.5, trained("linear")[1], criterion=criterion, allocation="global"
        )
        kept[criterion] = [mask.kept for mask in masks.values()]
    assert kept["magnitude"] != kept["random"]
    for damping in (None, 0.01, 1.0):
        model, data = trained("linear")
        errors[damping] = quietly(model, 0.5, data, damping=damping).layers[1].error
    assert errors[None] == errors[0.01] != errors[1.0]
