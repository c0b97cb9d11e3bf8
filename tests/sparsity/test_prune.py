"""fw.prune: settings checked first, floors, ties, dtypes, errors; and sabotage."""

import copy
import itertools
from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from featherweight.core.prunable import find_prunable
from featherweight.errors import ModelError, SettingError, UnknownNameError
from featherweight.sparsity import Recipe, prune
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


@dataclass
class InRounds:
    """Magnitude in rounds; it notes the zeros of the model, and those of the weights it is given."""

    rounds: int
    seen: list = field(default_factory=list)
    fails_in: int = 0

    def __call__(self, weights, context):
        zeros = sum(int((layer.weight == 0).sum()) for layer in context.model)
        assert zeros == sum(int((weight == 0).sum()) for weight in weights.values())
        self.seen.append(zeros)
        if len(self.seen) == self.fails_in:
            raise RuntimeError("it failed")
        return {name: weight.abs() for name, weight in weights.items()}


def test_rounds_prune_exponentially_and_score_what_is_left():
    model, criterion = linear(20, 40, 10), InRounds(4)
    masks = prune(model, 0.9, criterion=criterion)
    left = [1200 - zeros for zeros in criterion.seen]
    assert left == [1200, *(round(1200 * 0.1 ** (r / 4)) for r in (1, 2, 3))]
    assert masks.kept == 120


def test_rounds_go_on_from_what_is_pruned_already():
    model, criterion = linear(20, 40, 10), InRounds(2)
    prune(model, 0.5)
    prune(model, 0.92, criterion=criterion)
    assert criterion.seen == [600, 1200 - round(600 * (0.08 / 0.5) ** 0.5)]
    again = InRounds(2)
    prune(model, 0.92, criterion=again)
    assert again.seen == [1104], "nothing is left to do: one round"


@pytest.mark.parametrize("fails_in", [0, 1, 3])
def test_rounds_give_the_weights_back_whatever_happens(fails_in):
    model = linear(20, 40, 10)
    with torch.no_grad():
        model[0].weight[0, 0] = -0.0
    before = [layer.weight.detach().clone() for layer in model]
    criterion = InRounds(4, fails_in=fails_in)
    with nullcontext() if not fails_in else pytest.raises(RuntimeError, match="it failed"):
        Recipe(0.9, criterion).masks(model, find_prunable(model), 0.9)
    for layer, weight in zip(model, before, strict=True):
        assert torch.equal(layer.weight, weight)
        assert torch.equal(layer.weight.signbit(), weight.signbit())
    assert len(criterion.seen) == (fails_in or 4)


def test_rounds_matter_to_a_criterion_that_looks_at_what_is_left():
    """Each layer's scores are shares of its sum: pruned at once, the layer of more weights nearly goes."""

    class Share(InRounds):
        def __call__(self, weights, context):
            return {name: weight.abs() / weight.abs().sum() for name, weight in weights.items()}

    kept = {}
    for rounds in (1, 50):
        masks = prune(linear(10, 100, 5), 0.9, criterion=Share(rounds))
        kept[rounds] = masks["1.weight"].kept
    assert kept[1] > 1.5 * kept[50]


@pytest.mark.parametrize("rounds", [0, -1, 1.5, True, "3"])
def test_wrong_rounds_are_refused(rounds):
    with pytest.raises(SettingError, match="rounds of a criterion is a whole number of at least 1"):
        prune(linear(4, 4), 0.5, criterion=InRounds(rounds))


def test_rounds_go_with_patterns():
    model = linear(16, 32, 8)
    masks = prune(model, 0.75, criterion=InRounds(5), pattern="1:4")
    assert all(bool((mask.keep.view(-1, 4).sum(1) == 1).all()) for mask in masks.values())


def test_a_context_may_be_made_once():
    model, contexts = linear(4, 4), []

    def criterion(weights, context):
        contexts.append(context)
        return {name: weight.abs() for name, weight in weights.items()}

    recipe = Recipe(0.5, criterion, seed=7)
    context = recipe.context(torch.compile(model), "data")
    for _ in range(2):
        recipe.masks(model, find_prunable(model), 0.5, context=context)
    assert contexts == [context, context]
    assert (context.model, context.data, context.seed) == (model, "data", 7)


@pytest.mark.parametrize("pattern", ["1x4", "2:4", "per_output"])
def test_pruning_again_in_a_pattern_changes_nothing(pattern):
    model = linear(12, 33, 5)
    first = prune(model, 0.7, pattern=pattern)
    second = prune(model, 0.7, pattern=pattern)
    assert all(torch.equal(second[name].keep, mask.keep) for name, mask in first.items())


@pytest.mark.parametrize("pattern", ["1x4", "2:4", "per_output"])
def test_scattered_zeros_stay_and_a_pattern_does_with_what_is_left(pattern):
    model = linear(16, 32, 8)
    first = prune(model, 0.4, criterion="random")
    masks = prune(model, 0.7, pattern=pattern)
    assert round(0.3 * 768) - 4 < masks.kept <= round(0.3 * 768)
    assert not any(bool((masks[name].keep & ~mask.keep).any()) for name, mask in first.items())


def test_scattered_zeros_that_a_pattern_cannot_make_up_for_are_refused_with_what_works():
    model = linear(16, 32, 8)
    prune(model, 0.4, criterion="random")
    groups = (torch.cat([layer.weight.detach().view(-1, 4) for layer in model]) != 0).sum(1)
    most = int(groups.clamp_max(2).sum())
    with pytest.raises(SettingError, match=rf"at most {most} of .* with the zeros that are there:") as error:
        prune(model, 0.5, pattern="2:4")
    lowest = float(str(error.value).split("works is ")[1].split(",")[0])
    assert prune(model, lowest, pattern="2:4").kept == round((1 - lowest) * 768) <= most


def test_zero_initialised_layers_do_not_break_patterns():
    model = linear(20, 20, 20)
    nn.init.zeros_(model[1].weight)
    for pattern in ("2:4", "1x4", "per_output"):
        masks = prune(copy.deepcopy(model), 0.8, pattern=pattern)
        assert 160 - 4 < masks.kept <= 160


@pytest.mark.parametrize("pattern", ["2:4", "2x2", "per_output"])
def test_patterns_in_other_precisions_and_orders(pattern):
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 1)).to(torch.bfloat16)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    masks = [prune(each, 0.75, pattern=pattern) for each in (model, last)]
    assert all(torch.equal(masks[0][name].keep, masks[1][name].keep) for name in masks[0])


def test_sabotage_blocks_lose_less_than_random_ones():
    torch.manual_seed(0)
    weight, x = torch.randn(64, 64), torch.randn(256, 64)
    weight[:, :32] *= 0.1
    errors = {}
    for criterion in ("magnitude", "random"):
        model = nn.Linear(64, 64, bias=False)
        model.weight.data = weight.clone()
        prune(model, 0.5, criterion=criterion, pattern="4x1")
        errors[criterion] = (model(x) - x @ weight.T).square().mean().item()
    assert errors["magnitude"] < 0.1 * errors["random"]
