"""What holds for every registered criterion, allocation, schedule and pattern."""

import copy
import itertools

import pytest
import torch
from torch import nn

from featherweight.core.prunable import find_prunable
from featherweight.sparsity import Recipe
from featherweight.sparsity.allocation import allocations
from featherweight.sparsity.criteria import Context, criteria
from featherweight.sparsity.patterns import patterns, row_pattern
from featherweight.sparsity.schedules import schedules


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(64, 10)
    )


TOTAL = 3 * 8 * 9 + 8 * 16 * 9 + 640


@pytest.mark.parametrize("sparsity", [0.0, 0.137, 0.51, 0.9, 0.97])
@pytest.mark.parametrize("pattern", patterns)
@pytest.mark.parametrize("allocation", allocations)
@pytest.mark.parametrize("criterion", criteria)
def test_every_combination_prunes_exactly(criterion, allocation, pattern, sparsity):
    model = network()
    recipe = Recipe(sparsity, criterion, allocation, pattern)
    masks = recipe.masks(model, find_prunable(model), sparsity)
    asked = round((1 - sparsity) * TOTAL)
    assert asked - row_pattern(pattern).granularity < masks.kept <= asked
    masks.apply(model)
    masks.check(model)
    found = sum(int((w.tensor != 0).sum()) for w in find_prunable(model).weights)
    assert found == masks.kept
    assert bool((model[5].weight != 0).any(1).all()), "an output of the classifier vanished"
    assert all(mask.kept > 0 for mask in masks.values()), "a layer vanished"


@pytest.mark.parametrize("criterion", criteria)
def test_scores_have_the_weights_shape_are_finite_and_repeat(criterion):
    model = network()
    weights = {w.name: w.tensor.detach() for w in find_prunable(model).weights}
    first = criteria[criterion](weights, Context(model, seed=3))
    again = criteria[criterion](weights, Context(model, seed=3))
    for name, weight in weights.items():
        assert first[name].shape == weight.shape
        assert first[name].dtype == torch.float32
        assert bool(first[name].isfinite().all())
        assert torch.equal(first[name], again[name])


@pytest.mark.parametrize("criterion", criteria)
def test_scoring_does_not_touch_the_model(criterion):
    model = network()
    before = copy.deepcopy(model.state_dict())
    Recipe(0.5, criterion).masks(model, find_prunable(model), 0.5)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("allocation", allocations)
@pytest.mark.parametrize("kept", [0, 1, 7, 31, 47, 60])
def test_allocation_is_exact_and_within_limits(allocation, kept):
    torch.manual_seed(1)
    scores = {"a": torch.rand(4, 5), "b": torch.rand(2, 2, 5), "c": torch.rand(20, 1)}
    scores["c"][:7] = -torch.inf  # dead already
    kept = min(kept, 53)
    counts = allocations[allocation](scores, kept)
    assert sum(counts.values()) == kept
    assert all(0 <= counts[n] <= int((s > -torch.inf).sum()) for n, s in scores.items())


@pytest.mark.parametrize("allocation", allocations)
def test_allocation_is_exact_when_all_scores_tie(allocation):
    scores = {"a": torch.ones(7, 3), "b": torch.ones(5, 5)}
    assert sum(allocations[allocation](scores, 19).values()) == 19


@pytest.mark.parametrize("name", [name for name in schedules if not schedules[name].refills])
def test_schedule_rises_from_the_initial_sparsity_to_exactly_the_target(name):
    schedule = schedules[name](begin=5).planned(100)
    levels = [schedule.sparsity_at(step, 0.9, initial=0.2) for step in range(101)]
    assert levels[4] == 0.2
    assert levels[-1] == 0.9
    assert schedule.refills or all(b >= a - 1e-12 for a, b in itertools.pairwise(levels))
    assert max(levels) <= 0.9


@pytest.mark.parametrize("name", schedules)
def test_schedule_updates_when_it_begins_and_finishes_and_not_outside(name):
    schedule = schedules[name](begin=5).planned(100)
    updates = [step for step in range(101) if schedule.updates_at(step)]
    assert updates[0] == 5
    assert updates[-1] == schedule.finish


@pytest.mark.parametrize("pattern", patterns)
def test_pattern_keeps_exactly_and_prefers_high_scores(pattern):
    torch.manual_seed(2)
    scores = torch.rand(8, 1, 8)
    mask = row_pattern(pattern).mask(scores, 24)
    assert mask.kept == 24
    assert scores[mask.keep].mean() > scores[~mask.keep].mean()
