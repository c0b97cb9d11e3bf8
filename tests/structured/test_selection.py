"""Which units go: the least important, no further than the target, and not below the floors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from featherweight.core.trace import trace
from featherweight.errors import SettingError
from featherweight.structured import cost
from featherweight.structured.axes import trace_axes
from featherweight.structured.groups import find_groups
from featherweight.structured.importance import Context, importances
from featherweight.structured.selection import Floors, Ranking, smallest_cut


@pytest.fixture
def ranked():
    """Return a function that ranks the units of a small network."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    tracing = trace_axes(trace(model, torch.zeros(1, 6)))
    groups = find_groups(tracing)
    context = Context(model, dict(model.named_parameters()))

    def make(criterion="l2", scope="global", **floors):
        scores = [importances[criterion](group, context) for group in groups]
        return Ranking(tracing, groups, scores, scope, Floors(**floors))

    return make


def kept(cut):
    return [
        int(cut.kept(cut.tracing.axes[cut.tracing.stored[f"{layer}.weight"]][0]).sum()) for layer in (0, 2)
    ]


def test_the_least_important_go_first(ranked):
    ranking = ranked(scope="group")
    cut = ranking.cut(0.25)
    for group, scores in zip(ranking.groups, ranking.scores, strict=True):
        gone = np.isin(group.units, cut.removed)
        assert gone.sum() == len(group) // 4
        assert scores[gone].max() < scores[~gone].min()


def test_nothing_and_everything(ranked):
    assert kept(ranked().cut(0)) == [16, 32]
    assert kept(ranked().cut(1)) == [1, 1]
    assert kept(ranked(min_keep=3).cut(1)) == [3, 3]


def test_numbers_of_units_are_rounded_up(ranked):
    for share in np.linspace(0, 1, 9):
        assert all(count % 8 == 0 for count in kept(ranked(round_to=8).cut(share)))
    assert kept(ranked(round_to=20).cut(1)) == [
        1,
        20,
    ]  # a group that is smaller than a multiple is not rounded


def test_a_group_of_exactly_the_multiple_stays_whole(ranked):
    """It is not a small group: cutting it would leave no multiple. Sizes are 16 and 32."""
    assert kept(ranked(round_to=16).cut(1)) == [16, 16]
    assert kept(ranked(round_to=32).cut(1)) == [1, 32]
    assert kept(ranked(round_to=16, min_keep=17).cut(1)) == [16, 32]


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_equal_scores_are_counted_out_and_groups_shrink_alike(ranked, scale):
    ranking = ranked()
    equal = replace(ranking, scores=[np.full(len(group), scale) for group in ranking.groups])
    for left in range(3, 49):
        small, large = kept(equal.cut(1 - left / 48))
        assert small + large == left
        assert abs(small / 16 - large / 32) <= 1 / 16
    gone = equal.cut(0.5)
    for group in equal.groups:
        assert np.isin(group.units, gone.removed).tolist() == sorted(np.isin(group.units, gone.removed))


def test_some_of_the_units_that_score_alike_go(ranked):
    ranking = ranked()
    dead = [scores.copy() for scores in ranking.scores]
    dead[1][:20] = 0
    ranking = replace(ranking, scores=dead)
    assert kept(ranking.cut(10 / 48)) == [16, 22]
    cut = smallest_cut(ranking, lambda cut: 48 - len(cut.removed), 41, "keep")
    assert kept(cut) == [16, 25]


def test_negative_scores_are_ranked(ranked):
    ranking = ranked()
    below = replace(ranking, scores=[scores - 100 for scores in ranking.scores])
    assert sum(kept(below.cut(0.5))) == 24


def test_what_is_left_is_rounded_down(ranked):
    for left in range(8, 48):
        assert sum(kept(ranked().cut(1 - left / 48))) == left
        assert sum(kept(ranked().cut(1 - (left + 0.9) / 48))) == left
    assert kept(ranked(scope="group").cut(0.3)) == [11, 22]  # of 11.2 and 22.4
    assert kept(ranked(scope="group").cut(0.45)) == [8, 17]  # of 8.8 and 17.6


@pytest.mark.parametrize("scope", ["global", "group"])
@pytest.mark.parametrize("share", [0.8, 0.5, 0.2])
def test_a_target_is_reached_and_not_by_far(ranked, scope, share):
    ranking = ranked(scope=scope)
    target = share * cost.macs(ranking.cut(0))
    cut = smallest_cut(ranking, cost.macs, target, "macs=...")
    assert cost.macs(cut) <= target
    assert cost.macs(cut) > target - 0.12 * cost.macs(ranking.cut(0))


def test_a_target_below_the_floors_says_how_far_it_gets(ranked):
    ranking = ranked(min_keep=8)
    least = cost.params(ranking.cut(1))
    with pytest.raises(SettingError, match=f"{least:,} are left, more than 10"):
        smallest_cut(ranking, cost.params, 10, "params=10")


@pytest.mark.parametrize("criterion", ["l1", "l2", "fpgm", "random"])
def test_criteria_score_each_unit(ranked, criterion):
    for group, scores in zip(ranked().groups, ranked(criterion).scores, strict=True):
        assert scores.shape == (len(group),)
        assert np.isfinite(scores).all()
        assert len(np.unique(scores)) > 1


@pytest.mark.parametrize("setting", [{"min_keep": 0}, {"round_to": 2.5}, {"round_to": True}])
def test_floors_are_checked(setting):
    with pytest.raises(SettingError, match="at least 1"):
        Floors(**setting)
