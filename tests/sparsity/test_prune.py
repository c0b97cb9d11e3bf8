"""fw.prune: settings checked first, floors, ties, dtypes, errors; and sabotage."""

import itertools

import pytest
import torch
from torch import nn

from featherweight.core.prunable import find_prunable
from featherweight.errors import ModelError, SettingError, UnknownNameError
from featherweight.sparsity import prune
from featherweight.sparsity.criteria import layerwise


def linear(*sizes):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(i, o) for i, o in itertools.pairwise(sizes)))


def test_keeps_the_largest_weights():
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    model[0].weight.data = torch.tensor([[0.1, -5.0, 3.0, -0.2]])
    prune(model, 0.5)
    assert model[0].weight.tolist() == [[0.0, -5.0, 3.0, 0.0]]


def test_ties_are_broken_by_index_and_the_count_is_exact():
    model = nn.Sequential(nn.Linear(10, 1, bias=False))
    nn.init.ones_(model[0].weight)
    assert prune(model, 0.7)["0.weight"].keep.tolist() == [[True] * 3 + [False] * 7]


@pytest.mark.parametrize("sparsity", [1.0, 1.5, -0.1, float("nan"), True, "0.9", None])
def test_a_sparsity_out_of_range_is_refused(sparsity):
    with pytest.raises(SettingError, match="fraction of zeros"):
        prune(linear(4, 4), sparsity)


@pytest.mark.parametrize("axis", ["criterion", "allocation", "pattern"])
def test_an_unknown_name_lists_the_choices_and_changes_nothing(axis):
    model = linear(4, 4)
    before = model[0].weight.detach().clone()
    with pytest.raises(UnknownNameError, match=f"No {axis} is called 'nonesuch'"):
        prune(model, 0.5, **{axis: "nonesuch"})
    assert torch.equal(model[0].weight, before)


def test_nan_weights_are_named_and_nothing_changes():
    model = linear(4, 4, 4)
    with torch.no_grad():
        model[1].weight[0, 0] = torch.nan
    before = model[0].weight.detach().clone()
    with pytest.raises(ModelError, match=r"1\.weight.*NaN"):
        prune(model, 0.5)
    assert torch.equal(model[0].weight, before)


def test_so_sparse_that_a_layer_would_vanish_is_refused():
    with pytest.raises(SettingError, match=r"leaves 1 weights, but at least 5"):
        prune(linear(4, 4, 4), 0.97)


def test_classifier_outputs_never_vanish_even_if_their_weights_are_tiny():
    model = linear(50, 50, 10)
    with torch.no_grad():
        model[1].weight.mul_(1e-6)
    masks = prune(model, 0.95)
    assert bool((model[1].weight != 0).any(1).all())
    assert masks.kept == round(0.05 * 3000)


def test_a_model_that_is_sparser_already_is_refused():
    model = linear(20, 20)
    prune(model, 0.8)
    with pytest.raises(SettingError, match=r"80\.00% sparse already"):
        prune(model, 0.5)


@pytest.mark.parametrize("outputs", [4, 5, 7])
def test_pruning_again_to_the_same_sparsity_changes_nothing(outputs):
    model = linear(12, 32, outputs)  # a tenth of the weights is no whole number
    first = prune(model, 0.9)
    second = prune(model, 0.9)
    assert all(torch.equal(second[name].keep, mask.keep) for name, mask in first.items())


def test_pruning_further_keeps_the_zeros():
    model = linear(20, 20)
    first = prune(model, 0.5)
    second = prune(model, 0.9, criterion="random")
    assert second.kept == 40
    assert not bool((second["0.weight"].keep & ~first["0.weight"].keep).any())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions(dtype):
    model = linear(20, 20).to(dtype)
    masks = prune(model, 0.9)
    assert masks.kept == 40
    assert model[0].weight.dtype == dtype
    masks.check(model)


def test_huge_and_infinite_weights_are_kept_first():
    model = linear(10, 1)
    with torch.no_grad():
        model[0].weight[0, 3] = torch.inf
    assert bool(prune(model, 0.9)["0.weight"].keep[0, 3])


def test_tied_weights_are_counted_once():
    model = linear(10, 10, 10)
    model[1].weight = model[0].weight
    masks = prune(model, 0.9)
    assert (masks.numel, masks.kept) == (100, 10)
    assert model[1].weight is model[0].weight


def test_skipped_layers_stay_dense_and_are_reported():
    model = linear(10, 10, 10)
    masks = prune(model, 0.9, skip="0")
    assert bool((model[0].weight != 0).all())
    assert any(item.name == "0.weight" and "skipped" in item.reason for item in masks.left_alone)


def test_channels_last_and_transposed_weights():
    model = nn.Conv2d(8, 8, 3).to(memory_format=torch.channels_last)
    contiguous = nn.Conv2d(8, 8, 3)
    contiguous.load_state_dict(model.state_dict())
    assert torch.equal(prune(model, 0.9)["weight"].keep, prune(contiguous, 0.9)["weight"].keep)


def test_a_criterion_of_the_users_own():
    @layerwise
    def first_rows(weight, name, context):
        return torch.arange(len(weight), 0, -1.0).view(-1, 1).expand_as(weight)

    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 1))
    masks = prune(model, 0.5, criterion=first_rows, allocation="uniform")
    assert masks["0.weight"].keep[:2].all()
    assert not masks["0.weight"].keep[2:].any()


def test_a_criterion_may_give_scores_that_carry_gradients():
    model = linear(4, 4)
    prune(model, 0.5, criterion=lambda weights, context: {"0.weight": context.model[0].weight.abs()})
    assert int((model[0].weight != 0).sum()) == 8


@pytest.mark.parametrize("wrong", [lambda w, c: {}, lambda w, c: {n: t[:1].abs() for n, t in w.items()}])
def test_a_criterion_of_wrong_form_is_an_error(wrong):
    with pytest.raises(ModelError, match=r"gave 0\.weight scores of shape"):
        prune(linear(4, 4), 0.5, criterion=wrong)


def test_through_wrappers():
    inner = linear(10, 10)
    prune(torch.compile(inner), 0.9)
    assert int((inner[0].weight != 0).sum()) == 10


def test_sabotage_random_is_worse_than_magnitude():
    """A criterion that does nothing useful shows: the output of the pruned layer is further off."""
    torch.manual_seed(0)
    weight, x = torch.randn(64, 64) ** 3, torch.randn(256, 64)
    errors = {}
    for criterion in ("magnitude", "random"):
        model = nn.Linear(64, 64, bias=False)
        model.weight.data = weight.clone()
        prune(model, 0.8, criterion=criterion)
        errors[criterion] = (model(x) - x @ weight.T).square().mean().item()
    assert errors["magnitude"] < 0.2 * errors["random"]


def test_zero_initialised_layers_do_not_break_it():
    model = linear(20, 20, 20)
    nn.init.zeros_(model[1].weight)
    masks = prune(model, 0.9)
    assert masks.kept == 80
    assert find_prunable(model).numel == 800


def test_an_allocation_whose_counts_do_not_add_up_is_refused():
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 4))
    before = model[0].weight.detach().clone()
    with pytest.raises(ModelError, match="expected 48 in 2"):
        prune(model, 0.5, allocation=lambda scores, kept: dict.fromkeys(scores, 1))
    assert torch.equal(model[0].weight, before)
