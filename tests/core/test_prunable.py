"""What is pruned by default, what is left alone, and what is said about it."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from featherweight.core.prunable import find_prunable, unwrap
from featherweight.errors import ModelError, SettingError


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.conv = nn.Conv1d(8, 8, 3)
        self.norm = nn.LayerNorm([4, 8])
        self.position = nn.Parameter(torch.zeros(4, 8))
        self.rnn = nn.LSTM(8, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.normed = parametrizations.weight_norm(nn.Linear(8, 8))
        self.head = nn.Linear(8, 3)


def names(prunable):
    return [weight.name for weight in prunable.weights]


def reasons(prunable):
    return {item.name: item.reason for item in prunable.left_alone}


def test_weights_are_found_in_modules_of_every_kind():
    found = find_prunable(Everything())
    assert names(found) == [
        "conv.weight",
        "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "head.weight",
    ]
    assert found.weights[-1].is_output
    assert sum(weight.is_output for weight in found.weights) == 1


def test_the_others_are_listed_with_a_reason():
    why = reasons(find_prunable(Everything()))
    assert why["embed.weight"] == "embedding"
    assert why["norm.weight"] == "norm"
    assert "bias" in why["conv.bias"]
    assert "used directly" in why["position"]
    assert "frozen" in why["frozen.weight"]
    assert "parametrised" in why["normed.parametrizations.weight.original1"]


def test_every_parameter_is_either_pruned_or_listed():
    model = Everything()
    found = find_prunable(model, skip=["rnn"])
    assert set(names(found)) | set(reasons(found)) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("skip", ["rnn", "rnn.*", "rnn.weight_?h_l0", ["rnn.weight_i*", "rnn.weight_hh_l0"]])
def test_skip_takes_names_and_patterns(skip):
    found = find_prunable(Everything(), skip)
    assert not [name for name in names(found) if name.startswith("rnn")]
    assert reasons(found)["rnn.weight_ih_l0"].startswith("skipped by")


def test_skip_of_a_name_does_not_skip_those_it_begins():
    model = nn.ModuleDict({"fc": nn.Linear(2, 2), "fc2": nn.Linear(2, 2)})
    assert names(find_prunable(model, "fc")) == ["fc2.weight"]


def test_a_norm_without_weights_may_be_skipped_by_any_of_its_names():
    model = nn.ModuleDict({"fc": nn.Linear(2, 2), "n": nn.BatchNorm1d(2, affine=False)})
    model["same"] = model["n"]
    for name in ("n", "same"):
        assert names(find_prunable(model, name)) == ["fc.weight"]
    with pytest.raises(SettingError, match="matches no parameter or module"):
        find_prunable(model, "n.running_var")  # nothing looks at it


def test_a_skip_that_matches_nothing_is_an_error_with_near_names():
    with pytest.raises(SettingError, match=r"skip='haed' matches no.*head"):
        find_prunable(Everything(), ["haed"])


def test_tied_weights_are_one_weight():
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "c": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    model["c"].weight.data = model["a"].weight.data  # another Parameter, the same memory
    (weight,) = find_prunable(model).weights
    assert (weight.name, weight.aliases) == ("a.weight", ("b.weight", "c.weight"))


def test_skipping_one_name_of_a_tied_weight_skips_it():
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "c": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    assert names(find_prunable(model, "b")) == ["c.weight"]


def test_a_head_tied_to_an_embedding_is_left_alone():
    model = nn.ModuleDict({"embed": nn.Embedding(10, 8), "fc": nn.Linear(8, 8), "head": nn.Linear(8, 10)})
    model["head"].weight = model["embed"].weight
    found = find_prunable(model)
    assert names(found) == ["fc.weight"]
    assert "tied to the embedding" in reasons(found)["embed.weight"]


def test_nothing_to_prune_says_why():
    with pytest.raises(ModelError, match=r"no weight to prune.*0\.weight: frozen"):
        find_prunable(nn.Sequential(nn.Linear(2, 2)).requires_grad_(False))
    with pytest.raises(ModelError, match="no parameters"):
        find_prunable(nn.ReLU())


def test_lazy_parameters_are_an_error():
    with pytest.raises(ModelError, match="Run the model once"):
        find_prunable(nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(3)))


def test_parameters_without_values_are_an_error():
    with pytest.raises(ModelError, match=r"'0\.weight' is on the meta device.*Load weights"):
        find_prunable(nn.Sequential(nn.Linear(2, 2, device="meta")))


@pytest.mark.parametrize(
    "hook",
    [
        torch.nn.utils.weight_norm,  # of v in rows of zeros it makes NaN
        torch.nn.utils.spectral_norm,
        lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_hooks_compute_the_weight_from_is_left_alone(hook):
    found = find_prunable(nn.Sequential(hook(nn.Linear(4, 4)), nn.Linear(4, 2)))
    assert names(found) == ["1.weight"]
    assert all(
        "0.bias" in n or "'weight' is computed" in why for n, why in reasons(found).items() if n[0] == "0"
    )


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_empty_weights_are_left_alone():
    found = find_prunable(nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 2)))
    assert names(found) == ["1.weight"]
    assert reasons(found)["0.weight"] == "empty"


def test_classes_derived_from_a_layer_count_as_that_layer():
    class Words(nn.Embedding):
        pass

    class Scale(nn.LayerNorm):
        pass

    class Up(nn.ConvTranspose2d):
        pass

    found = find_prunable(nn.ModuleDict({"a": Words(5, 4), "b": Scale([4, 4]), "c": Up(4, 3, 2)}))
    assert [(weight.name, weight.output_dim) for weight in found.weights] == [("c.weight", 1)]


def test_wrappers_are_looked_through():
    inner = nn.Sequential(nn.Linear(2, 2))
    assert unwrap(nn.DataParallel(torch.compile(inner))) is inner
    assert names(find_prunable(torch.compile(inner))) == ["0.weight"]
    compiled_inside = nn.Sequential(torch.compile(nn.Linear(2, 2)))
    assert names(find_prunable(compiled_inside)) == ["0.weight"]


def test_transposed_convolution_counts_outputs_in_its_second_dimension():
    assert find_prunable(nn.ConvTranspose2d(4, 3, 2)).weights[0].output_dim == 1
    assert find_prunable(nn.Conv2d(4, 3, 2)).weights[0].output_dim == 0
